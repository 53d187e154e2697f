package bench

import (
	"errors"
	"io"
	"math/bits"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/exp/mmap"

	"promostore/bench/peer"
	"promostore/format"
	"promostore/internal/sysmem"
	"promostore/reader"
)

// BenchmarkLookup measures lookups of present IDs in random order by one
// goroutine, with everything in memory: against one random read of the mapping,
// against other stores, with IDs that are not random, and in batches.
//
// Each ID depends on the record before, like those of requests that come one
// after the other. In batches, the IDs are known before.
func BenchmarkLookup(b *testing.B) {
	const fullRows, batchLen = 10_000_000, 1000
	rows := env.rows(4_000_000)
	run(b, "one random read", rows, func(b *testing.B) {
		f := openFile(b, "v4", rows)
		compareLookups(b, "ns/lookup", 9, f.ours(b), f.floor(b), when(rows, fullRows, Target{AtMost: 1.3}))
	})
	for _, kind := range []string{"v7", "sequential", "same-prefix"} {
		run(b, kind+" IDs", rows, func(b *testing.B) {
			compareLookups(b, "ns/lookup", 6, openFile(b, kind, rows).ours(b), openFile(b, "v4", rows).ours(b), Target{AtMost: 2})
		})
	}
	for _, p := range peer.All {
		if p.Open == nil {
			continue
		}
		run(b, p.Name, rows, func(b *testing.B) {
			f := openFile(b, "v4", rows)
			compareLookups(b, "lookups/s", 6, f.ours(b), f.peer(b, p), Target{})
		})
	}
	run(b, "Go map", rows, func(b *testing.B) {
		f := openFile(b, "v4", rows)
		compareLookups(b, "lookups/s", 6, f.ours(b), f.goMap(b), Target{})
	})

	// Ten times the records, of which every read misses the caches.
	many := 10 * rows
	if many*33 > sysmem.Available()/2 {
		return
	}
	run(b, "one random read", many, func(b *testing.B) {
		f := openFile(b, "v4", many)
		compareLookups(b, "ns/lookup", 9, f.ours(b), f.floor(b), when(rows, fullRows, Target{AtMost: 1.3}))
	})
	run(b, "batch of 1000, one at a time", many, func(b *testing.B) {
		f := openFile(b, "v4", many)
		f.warm(b)
		keys, records, found := make([]format.Key, batchLen), make([]format.Record, batchLen), make([]bool, batchLen)
		next := 0
		batches := func(get func() error) Subject {
			return func(tb testing.TB) Sample {
				var n int
				var took time.Duration
				for ; took < roundTime; n += batchLen {
					for i := range keys {
						keys[i] = f.samples[next%numSamples].key
						next++
					}
					start := time.Now()
					must(tb, get())
					took += time.Since(start)
					for i := range keys {
						if !found[i] || records[i].Key() != keys[i] {
							tb.Fatal(errAbsent)
						}
					}
				}
				return Sample{Value: float64(n) / took.Seconds()}
			}
		}
		Compare(b, Comparison{
			Unit: "lookups/s", Rounds: 6, Target: when(rows, fullRows, Target{AtLeast: 3}),
			Ours: batches(func() error { return f.GetBatch(keys, records, found) }),
			Peer: batches(func() (err error) {
				for i, key := range keys {
					if records[i], found[i], err = f.Get(key); err != nil {
						return err
					}
				}
				return nil
			}),
		})
	})
	dir, _ := env.Generation(b, "v4", many)
	must(b, os.RemoveAll(dir))
}

const roundTime = 200 * time.Millisecond

var errAbsent = errors.New("an ID of the data set is absent")

// A lookup returns a random byte of the record of a sample.
type lookup func(s sample) (byte, error)

const numSamples = 4 << 20 // 96 MB, more than a cache has

// A sample is a record and its ID.
type sample struct {
	record int64
	key    format.Key
}

// compareLookups compares lookups in the unit "ns/lookup" or "lookups/s".
func compareLookups(b *testing.B, unit string, rounds int, ours, theirs Subject, target Target) {
	convert := func(s Subject) Subject {
		return func(tb testing.TB) Sample {
			v := s(tb)
			if unit == "lookups/s" {
				return Sample{1e9 / v.Value, map[string]float64{"ns/lookup": v.Value}}
			}
			return v
		}
	}
	Compare(b, Comparison{Unit: unit, Rounds: rounds, Target: target, Ours: convert(ours), Peer: convert(theirs)})
}

// A file is a verified generation, a mapping of it for the floor, and samples
// of the records from lo to hi.
type file struct {
	*reader.File
	at      *mmap.ReaderAt
	lo, hi  int64
	samples []sample
}

func openFile(tb testing.TB, keys string, rows int64) *file {
	_, path := env.Generation(tb, keys, rows)
	return openPath(tb, path, sysmem.Total())
}

// openPath opens a file. The samples are from at most size bytes in the middle of
// the file.
func openPath(tb testing.TB, path string, size int64) *file {
	r, err := reader.Open(path, reader.AccessMmap)
	must(tb, err)
	tb.Cleanup(func() { must(tb, r.Close()) })
	must(tb, r.Verify(tb.Context(), nil))
	at, err := mmap.Open(path)
	must(tb, err)
	tb.Cleanup(func() { must(tb, at.Close()) })
	rows := int64(r.Header().Records)
	n := min(rows, size/format.RecordLen)
	f := &file{r, at, (rows - n) / 2, (rows + n) / 2, make([]sample, numSamples)}
	// In sequence first, if the page cache does not have them.
	in := io.NewSectionReader(at, recordOff(f.lo), n*format.RecordLen)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	must(tb, err)
	for i := range f.samples {
		offset, _ := bits.Mul64(spread(uint64(i)), uint64(f.hi-f.lo))
		f.samples[i] = f.sample(tb, f.lo+int64(offset))
	}
	return f
}

func (f *file) sample(tb testing.TB, record int64) sample {
	var b [format.KeyLen]byte
	_, err := f.at.ReadAt(b[:], recordOff(record))
	must(tb, err)
	return sample{record, format.KeyAt(b[:])}
}

// recordOff returns the offset of a record in the file.
func recordOff(i int64) int64 { return format.BlockOff(0) + i*format.RecordLen }

// spread spreads x over 64 bits, like the finalizer of SplitMix64.
func spread(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// warm reads every page through the mapping of the reader.
func (f *file) warm(tb testing.TB) {
	for i := f.lo; i < f.hi; i += 16 {
		_, found, err := f.Get(f.sample(tb, i).key)
		if must(tb, err); !found {
			tb.Fatal(errAbsent)
		}
	}
}

// chain measures lookups, each of which depends on the byte that the one before
// returned, after a round that does not count. Samples are read in order, which
// the processor foresees.
func (f *file) chain(tb testing.TB, get lookup) Subject {
	var last byte
	next := 0
	subject := func(tb testing.TB) Sample {
		n := 0
		start := time.Now()
		for time.Since(start) < roundTime {
			for range 1000 {
				var err error
				if last, err = get(f.samples[(next+int(last&1))%numSamples]); err != nil {
					tb.Fatal(err)
				}
				next += 2
			}
			n += 1000
		}
		return Sample{Value: float64(time.Since(start).Nanoseconds()) / float64(n)}
	}
	subject(tb)
	return subject
}

const lastOfPrice = 23 // a random byte of a record

func (f *file) ours(tb testing.TB) Subject {
	f.warm(tb)
	return f.chain(tb, func(s sample) (byte, error) {
		r, found, err := f.Get(s.key)
		if !found {
			return 0, errors.Join(err, errAbsent)
		}
		return r[lastOfPrice], err
	})
}

// floor reads one byte of the mapping.
func (f *file) floor(tb testing.TB) Subject {
	return f.chain(tb, func(s sample) (byte, error) { return f.at.At(int(recordOff(s.record)) + lastOfPrice), nil })
}

// peer looks up in the store of a peer, every page of which was read before.
func (f *file) peer(tb testing.TB, p peer.Peer) Subject {
	path := filepath.Join(env.Dir, p.Name)
	must(tb, peer.Run(env.command("promopeer", "build", p.Name, env.CSV(tb, "v4", f.hi), path)))
	tb.Cleanup(func() { must(tb, os.RemoveAll(path)) })
	s, err := p.Open(path)
	must(tb, err)
	tb.Cleanup(func() { must(tb, s.Close()) })
	read, closeReader, err := s.Reader()
	must(tb, err)
	tb.Cleanup(func() { must(tb, closeReader()) })
	var id [format.KeyLen]byte
	var value []byte
	get := func(s sample) (byte, error) {
		peer.PutKey(&id, s.key)
		v, found, err := read(&id, value[:0])
		if !found {
			return 0, errors.Join(err, errAbsent)
		}
		value = v
		return v[7], err // a random digit
	}
	for i := f.lo; i < f.hi; i += 16 {
		_, err := get(f.sample(tb, i))
		must(tb, err)
	}
	return f.chain(tb, get)
}

// goMap looks up in a map, which needs all of its memory in the process and is
// lost with it.
func (f *file) goMap(tb testing.TB) Subject {
	m := make(map[format.Key][format.RecordLen - format.KeyLen]byte, f.hi)
	must(tb, f.Index().Scan(f.at, func(records []format.Record) error {
		for i := range records {
			m[records[i].Key()] = [format.RecordLen - format.KeyLen]byte(records[i][format.KeyLen:])
		}
		return nil
	}))
	return f.chain(tb, func(s sample) (byte, error) {
		r, found := m[s.key]
		if !found {
			return 0, errAbsent
		}
		return r[lastOfPrice-format.KeyLen], nil
	})
}
