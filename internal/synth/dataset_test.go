package synth_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // Berlin, on machines without a zone database

	"promostore/format"
	"promostore/internal/synth"
)

func rows(t *testing.T, data synth.DataSet) [][]string {
	t.Helper()
	var b bytes.Buffer
	n, err := data.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d bytes", n, err, b.Len())
	}
	all, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func kinds() []synth.Kind {
	return []synth.Kind{synth.KeysV4, synth.KeysV7, synth.KeysV1, synth.KeysSequential, synth.KeysSamePrefix}
}

// TestRowsAndDuplicates checks that rows follow the sequence of ids, with the
// requested number of duplicates, each of an earlier id.
func TestRowsAndDuplicates(t *testing.T) {
	for _, kind := range kinds() {
		for _, want := range []struct{ rows, duplicates int64 }{
			{0, 0}, {1, 0}, {2, 1}, {10, 9}, {1000, 0}, {1000, 1}, {1000, 10}, {1000, 333}, {1000, 999},
		} {
			keys := synth.Keys{Kind: kind, Seed: 7}
			seen := map[string]bool{}
			duplicates, last := int64(0), 0
			all := rows(t, synth.DataSet{Keys: keys, Rows: want.rows, Duplicates: want.duplicates})
			for i, row := range all {
				if seen[row[0]] {
					duplicates++
					if want.duplicates == 10 {
						if gap := i + 1 - last; gap != 100 {
							t.Errorf("%v: duplicates are %d rows apart, not 100", kind, gap)
						}
						last = i + 1
					}
				} else if k := keys.At(uint64(len(seen))).String(); row[0] != k {
					t.Fatalf("%v: row %d has id %s, want %s", kind, i, row[0], k)
				}
				seen[row[0]] = true
			}
			if int64(len(all)) != want.rows || duplicates != want.duplicates {
				t.Errorf("%v: %d rows with %d duplicates, want %+v", kind, len(all), duplicates, want)
			}
		}
	}
}

// TestLayout checks that every row has the layout of real data sets.
func TestLayout(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	price := regexp.MustCompile(`^\d{1,2}\.\d{6}$`)
	twice := map[string]int{}
	zones := map[string]int{}
	const n = 100_000
	for _, row := range rows(t, synth.DataSet{Rows: n, Keys: synth.Keys{Seed: 3}}) {
		if len(row) != 3 {
			t.Fatalf("%q has %d fields", row, len(row))
		}
		if _, upper, err := format.ParseKey([]byte(row[0])); err != nil || upper || row[0] != strings.ToLower(row[0]) {
			t.Fatalf("id %q: %v", row[0], err)
		}
		if f, err := strconv.ParseFloat(row[1], 64); err != nil || f < 0.55 || f >= 100 || !price.MatchString(row[1]) {
			t.Fatalf("price %q", row[1])
		}
		const layout = "2006-01-02 15:04:05 -0700 MST"
		at, err := time.Parse(layout, row[2])
		if err != nil {
			t.Fatal(err)
		}
		if got := at.In(berlin).Format(layout); got != row[2] {
			t.Fatalf("date %q is %q in Berlin", row[2], got)
		}
		zone := row[2][len("2006-01-02 15:04:05 -0700 "):]
		zones[zone]++
		if strings.HasPrefix(row[2], "2018-10-28 02:") {
			twice[zone]++
		}
	}
	if share := float64(zones["CEST"]) / n; share < 0.975 || share > 0.985 || zones["CEST"]+zones["CET"] != n {
		t.Errorf("zones %v, want 98 %% CEST", zones)
	}
	if twice["CEST"] == 0 || twice["CET"] == 0 {
		t.Errorf("the repeated hour has %v", twice)
	}
}

func TestSeedDeterminesRows(t *testing.T) {
	for _, kind := range kinds() {
		text := func(seed uint64) string {
			var b strings.Builder
			data := synth.DataSet{Keys: synth.Keys{Kind: kind, Seed: seed}, Rows: 10_000, Duplicates: 100}
			if _, err := data.WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			return b.String()
		}
		one := text(1)
		if text(1) != one {
			t.Errorf("%v: seed 1 gives two data sets", kind)
		}
		if text(2) == one {
			t.Errorf("%v: seeds 1 and 2 give the same data set", kind)
		}
	}
}

func TestKeys(t *testing.T) {
	for _, kind := range kinds() {
		keys := synth.Keys{Kind: kind, Seed: 11}
		seen := map[format.Key]bool{}
		var last format.Key
		heads := map[uint64]bool{}
		const n = 200_000
		for i := range uint64(n) {
			k := keys.At(i)
			if seen[k] {
				t.Fatalf("%v: id %s occurs twice", kind, k)
			}
			seen[k] = true
			heads[k.Hi>>(64-48)] = true
			text := k.String()
			switch kind {
			case synth.KeysV4:
				if text[14] != '4' {
					t.Fatalf("%s is not version 4", text)
				}
			case synth.KeysV7:
				if text[14] != '7' || k.Hi>>16 < last.Hi>>16 {
					t.Fatalf("%s after %s is not version 7", text, last)
				}
			case synth.KeysV1:
				if at := timeOf(k); text[14] != '1' || at < timeOf(last) || i > 0 && k.Lo != last.Lo {
					t.Fatalf("%s of %d after %s is not version 1 of one node", text, at, last)
				}
			case synth.KeysSequential:
				if (k != format.Key{Lo: i}) {
					t.Fatalf("id %d is %s", i, text)
				}
			case synth.KeysSamePrefix:
				if i > 0 && k.Hi != last.Hi {
					t.Fatalf("%s after %s has another prefix", text, last)
				}
			}
			if kind != synth.KeysSequential && !strings.Contains("89ab", text[19:20]) {
				t.Fatalf("%s does not have the variant of RFC 9562", text)
			}
			last = k
		}
		if kind == synth.KeysV4 && len(heads) < n*99/100 {
			t.Errorf("%d of %d ids differ in their first 48 bits", len(heads), n)
		}
	}
}

// timeOf returns the time in an id of version 1 (RFC 9562, section 5.1).
func timeOf(k format.Key) uint64 { return k.Hi&0xFFF<<48 | k.Hi>>16&0xFFFF<<32 | k.Hi>>32 }

// TestStartOfVersion1 checks the time of the first id, in units of 100 ns since
// 1582-10-15.
func TestStartOfVersion1(t *testing.T) {
	const start = 122_192_928_000_000_000 + 1_525_132_800*10_000_000 // 2018-05-01 UTC
	if at := timeOf(synth.Keys{Kind: synth.KeysV1}.At(0)); at < start || at >= start+1_000_000 {
		t.Errorf("the first id has the time %d, want %d", at, uint64(start))
	}
}

// TestShards checks which rule divides the ids of a kind evenly, as the
// documentation tells.
func TestShards(t *testing.T) {
	const n = 160_000
	for kind, even := range map[synth.Kind][2]bool{ // by the last digit, by the first
		synth.KeysV4:         {true, true},
		synth.KeysV7:         {true, false},
		synth.KeysV1:         {false, true},
		synth.KeysSequential: {true, false},
		synth.KeysSamePrefix: {true, false},
	} {
		for i, rule := range []format.ShardRule{format.ShardLast, format.ShardFirst} {
			s := format.Sharding{Rule: rule, Shards: 16}
			var counts [16]int
			for i := range uint64(n) {
				counts[s.ShardOf(synth.Keys{Kind: kind, Seed: 5}.At(i))]++
			}
			if largest := slices.Max(counts[:]); even[i] != (largest < n/16*11/10) || !even[i] && largest != n {
				t.Errorf("%v by the %v digit: the largest of 16 shards has %d of %d ids", kind, rule, largest, n)
			}
		}
	}
}

func TestParseKind(t *testing.T) {
	for _, kind := range kinds() {
		if got, err := synth.ParseKind(kind.String()); got != kind || err != nil {
			t.Errorf("ParseKind(%q) = %v, %v", kind, got, err)
		}
	}
	if _, err := synth.ParseKind("v5"); err == nil {
		t.Error("ParseKind accepts v5")
	}
}

func TestImpossibleDataSets(t *testing.T) {
	for _, data := range []synth.DataSet{
		{Rows: -1}, {Rows: 1, Duplicates: -1}, {Rows: 0, Duplicates: 1}, {Rows: 5, Duplicates: 5},
	} {
		if n, err := data.WriteTo(&bytes.Buffer{}); n != 0 || !errors.Is(err, synth.ErrDataSet) {
			t.Errorf("%+v: WriteTo = %d, %v", data, n, err)
		}
	}
}

type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	n := min(f.room, len(p))
	if f.room -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriteError(t *testing.T) {
	for _, room := range []int{0, 100, 300_000, 1_000_000} {
		n, err := synth.DataSet{Rows: 20_000}.WriteTo(&full{room})
		if n != int64(room) || !errors.Is(err, errFull) {
			t.Errorf("with room for %d bytes: WriteTo = %d, %v", room, n, err)
		}
	}
}
