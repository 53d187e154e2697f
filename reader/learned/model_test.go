package learned

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"promostore/format"
	"promostore/internal/synth"
)

// sortedKeys returns n keys of a kind in ascending order.
func sortedKeys(kind synth.Kind, n int) []format.Key {
	keys := make([]format.Key, n)
	for i := range keys {
		keys[i] = synth.Keys{Kind: kind}.At(uint64(i))
	}
	slices.SortFunc(keys, format.Key.Compare)
	return keys
}

// evenKeys returns n evenly spaced keys, of which the last is the largest key
// possible.
func evenKeys(n int) []format.Key {
	keys := make([]format.Key, n)
	for i := range keys {
		keys[n-1-i] = format.Key{Hi: ^uint64(0) - uint64(i)*(3<<62/uint64(n)), Lo: ^uint64(0)}
	}
	return keys
}

// fences returns the fences of the second and the last block.
func fences(keys []format.Key) (first, last format.Key) {
	return keys[format.RecordsPerBlock], keys[(len(keys)-1)/format.RecordsPerBlock*format.RecordsPerBlock]
}

// fromRecords trains a model from records with these keys, in pieces like those
// of a verification.
func fromRecords(keys []format.Key) *Model {
	first, last := fences(keys)
	t := FromRecords(first, last, len(keys))
	records := make([]format.Record, 0, 1<<15)
	for piece := range slices.Chunk(keys, cap(records)) {
		records = records[:0]
		for _, k := range piece {
			records = append(records, format.MakeRecord(k, false, format.Price{}, 0, 0))
		}
		t.Records(records)
	}
	return t.Model()
}

// fromFences trains a model from the fences of a file with these keys.
func fromFences(keys []format.Key) *Model {
	first, last := fences(keys)
	t := FromFences(first, last, len(keys))
	for i := 0; i < len(keys); i += format.RecordsPerBlock {
		t.Fence(keys[i], i)
	}
	return t.Model()
}

// modelError returns the mean and the largest distance of predictions from the
// true ranks of keys, and the share of keys in the first window.
func modelError(m *Model, keys []format.Key) (mean float64, largest int, inWindow float64) {
	sum, hits, n := 0, 0, 0
	for rank, k := range keys {
		predicted, ok := m.Predict(k)
		if !ok {
			continue
		}
		d := max(predicted-rank, rank-predicted)
		sum += d
		largest = max(largest, d)
		if x, _ := m.Position(k); 0 <= rank-m.Window(x) && rank-m.Window(x) < WindowLen {
			hits++
		}
		n++
	}
	return float64(sum) / float64(n), largest, float64(hits) / float64(n)
}

var kinds = []synth.Kind{synth.KeysV4, synth.KeysV7, synth.KeysSequential, synth.KeysSamePrefix}

// TestPredictionError limits the error to the figures of the package comment.
func TestPredictionError(t *testing.T) {
	const n = 1 << 20
	type figures struct {
		mean     float64
		max      int
		inWindow float64
	}
	for _, c := range []struct {
		kind            synth.Kind
		records, fences figures
	}{
		{synth.KeysV4, figures{1.5, 20, 0.95}, figures{4, 60, 0.6}},
		{synth.KeysV7, figures{5, 20, 0.48}, figures{8, 40, 0.24}},
		{synth.KeysSequential, figures{1, 1, 1}, figures{1, 40, 0.99}},
		{synth.KeysSamePrefix, figures{1.5, 20, 0.95}, figures{4, 60, 0.6}},
	} {
		keys := sortedKeys(c.kind, n)
		for _, m := range []struct {
			name  string
			model *Model
			want  figures
		}{
			{"from records", fromRecords(keys), c.records},
			{"from fences", fromFences(keys), c.fences},
		} {
			mean, largest, inWindow := modelError(m.model, keys)
			t.Logf("%v, %s: mean %.2f, max %d, %.1f %% in the first window", c.kind, m.name, mean, largest, 100*inWindow)
			if mean > m.want.mean || largest > m.want.max || inWindow < m.want.inWindow {
				t.Errorf("%v, %s: mean %.2f, max %d, %.3f in the first window; want %+v", c.kind, m.name, mean, largest, inWindow, m.want)
			}
		}
	}
}

// TestLastKeys checks predictions for the end of a file, up to the largest
// possible key.
func TestLastKeys(t *testing.T) {
	for name, keys := range map[string][]format.Key{
		"v4":                          sortedKeys(synth.KeysV4, 100_000),
		"sequential":                  sortedKeys(synth.KeysSequential, 100_000),
		"even":                        evenKeys(100_000),
		"even, one in the last block": evenKeys(781*format.RecordsPerBlock + 1),
	} {
		m := fromRecords(keys)
		covered, hits := 0, 0
		for i := len(keys) - 500; i < len(keys); i++ {
			if x, ok := m.Position(keys[i]); ok {
				covered++
				if from := m.Window(x); from <= i && i < from+WindowLen {
					hits++
				}
			}
		}
		// The last block is not covered.
		if covered < 500-format.RecordsPerBlock || hits < covered*9/10 {
			t.Errorf("%s: of the last 500 keys %d are covered and %d in the first window", name, covered, hits)
		}
	}
}

// TestCoarseModel checks that coarse predictions are near enough to name the
// page of a record, at three sizes.
func TestCoarseModel(t *testing.T) {
	const n = 100_000
	for _, kind := range []synth.Kind{synth.KeysV4, synth.KeysSequential} {
		keys := sortedKeys(kind, n)
		m := fromRecords(keys)
		// In the middle between two coarse ranks with r random records, the
		// worst place, ranks have a standard deviation of the square root of
		// r/4. Three of them cover nearly all keys.
		for size, within := range map[int]int{1000: 3 * 32, 9: 3 * 59, 2: 3 * 159} {
			m.makeCoarse(size)
			covered, near := 0, 0
			for i := 0; i < n; i += 7 {
				x, ok := m.Position(keys[i])
				if !ok {
					continue
				}
				covered++
				at := m.PredictCoarse(x)
				if at < 0 || at >= n {
					t.Fatalf("%v, %d ranks: record %d", kind, size, at)
				}
				if at-i < within && i-at < within {
					near++
				}
			}
			if covered < n/8 || near < covered*99/100 {
				t.Errorf("%v, %d ranks: of %d keys %d are within %d records", kind, size, covered, near, within)
			}
		}
	}
}

// TestPredictionsInRange checks that windows and coarse predictions lie within
// the file, whatever its keys are and whatever key is predicted.
func TestPredictionsInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.OneOf(rapid.Uint64(), rapid.Uint64Range(0, 1000), rapid.Just(^uint64(0)))
		key := rapid.Custom(func(t *rapid.T) format.Key {
			return format.Key{Hi: half.Draw(t, "hi"), Lo: half.Draw(t, "lo")}
		})
		keys := rapid.SliceOfN(key, 3*format.RecordsPerBlock, 2000).Draw(t, "keys")
		others := rapid.SliceOf(key).Draw(t, "other keys")
		slices.SortFunc(keys, format.Key.Compare)
		keys = slices.Compact(keys)
		if len(keys) <= 2*format.RecordsPerBlock {
			t.Skip("fewer than three blocks")
		}
		m, coarser := fromRecords(keys), fromFences(keys)
		for _, k := range append(others, keys...) {
			for _, m := range []*Model{m, coarser} {
				x, _ := m.Position(k)
				if from := m.Window(x); from < 0 || from+WindowLen > len(keys) || from%2 != 0 {
					t.Fatalf("%s: window at %d of %d records", k, from, len(keys))
				}
				for _, after := range []bool{false, true} {
					from := m.Correct(x, 100, keys[100], after)
					if from < 0 || from+WindowLen > len(keys) || after && from < 100+WindowLen || !after && from > 100-WindowLen {
						t.Fatalf("%s: window at %d after that at 100", k, from)
					}
				}
			}
			x, _ := m.Position(k)
			if at := m.PredictCoarse(x); at < 0 || at >= len(keys) {
				t.Fatalf("%s: coarse prediction %d of %d records", k, at, len(keys))
			}
		}
	})
}

// BenchmarkPredict measures the error of models of 10 million keys, and the time
// of a prediction.
func BenchmarkPredict(b *testing.B) {
	const n = 10_000_000
	for _, kind := range kinds {
		keys := sortedKeys(kind, n)
		for name, train := range map[string]func([]format.Key) *Model{"records": fromRecords, "fences": fromFences} {
			m := train(keys)
			mean, largest, hits := modelError(m, keys)
			b.Run(kind.String()+"/"+name, func(b *testing.B) {
				i, sum := uint64(0), 0
				for b.Loop() {
					rank, _ := m.Predict(keys[i])
					sum += rank
					i = (i*0x9E3779B97F4A7C15 + 1) % n
				}
				b.ReportMetric(mean, "mean-error")
				b.ReportMetric(float64(largest), "max-error")
				b.ReportMetric(100*hits, "%in-window")
			})
		}
	}
}
