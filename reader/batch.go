package reader

import (
	"runtime"
	"runtime/debug"

	"promostore/format"
	"promostore/reader/learned"
)

// GetBatch looks up keys and sets records[i] and found[i] for keys[i]. Both
// slices must be as long as keys. It does not allocate. After an error, which
// is that of one of the keys, their content is undefined.
//
// In a verified mapping it is several times as fast as a Get for each key,
// because the reads of different keys overlap.
func (f *File) GetBatch(keys []format.Key, records []format.Record, found []bool) error {
	records, found = records[:len(keys)], found[:len(keys)]
	clear(found)
	// finishBatch repeats an error, and names the key.
	_ = f.findBatch(keys, records, found)
	return f.finishBatch(keys, records, found)
}

// findBatch is findGroup for any number of keys, all of f.
func (f *File) findBatch(keys []format.Key, records []format.Record, found []bool) (err error) {
	if f.model.Load() == nil {
		return nil
	}
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	for lo := 0; lo < len(keys); lo += groupLen {
		hi := min(lo+groupLen, len(keys))
		parts := [...]part{f.part(hi - lo)}
		if err := findGroup(parts[:], keys[lo:hi], records[lo:hi], found[lo:hi]); err != nil {
			return err
		}
	}
	return nil
}

// finishBatch is GetBatch after findBatch.
func (f *File) finishBatch(keys []format.Key, records []format.Record, found []bool) error {
	absent := -1
	for i, done := range found {
		if done {
			continue
		}
		var err error
		records[i] = format.Record{}
		if found[i], err = f.find(keys[i], &records[i]); err != nil {
			return f.lookupError(keys[i], err)
		}
		if !found[i] {
			absent = i
		}
	}
	if absent >= 0 {
		if err := f.checkUnchanged(); err != nil {
			return f.lookupError(keys[absent], err)
		}
	}
	return nil
}

// groupLen is the number of keys that are looked up together: more than the
// reads that a processor has under way, and few enough that the records are
// still in its cache when they are compared.
const groupLen = 32

// A part of a group has consecutive keys of one file.
type part struct {
	s         *mmapSource
	m         *learned.Model // nil: findGroup does not look up the keys
	numStyles int
	end       int // of the keys, and later of the pending ones; they begin at the end of the part before
}

// part returns a part with keys of f that ends with key end-1.
func (f *File) part(end int) part {
	p := part{s: f.mmap, m: f.model.Load(), numStyles: len(f.index.Styles), end: end}
	if p.m != nil && p.s.at.Len() == 0 {
		p.m = nil // closed
	}
	return p
}

// A group is the state of keys that are looked up together. Pending keys are at
// the front of each array, in the order of the parts.
type group struct {
	key  [groupLen]uint16 // index in the keys of the group
	from [groupLen]int    // first record of the window to search next
	x    [groupLen]learned.Position
}

// findGroup is findPredicted for up to groupLen keys. It sets records[i] and
// found[i] if it finds keys[i] and the record is valid. It decides nothing about
// the others. It changes parts. The caller turns panics into errors.
//
// Each inner loop reads from addresses that do not depend on one another.
func findGroup(parts []part, keys []format.Key, records []format.Record, found []bool) error {
	var g group
	var w window
	pending := 0
	// Load the segments first, in a loop so short that the processor overlaps
	// many of its iterations: 100 M random keys are a tenth faster for it.
	read := uint64(0)
	lo := 0
	for p := range parts {
		m, hi := parts[p].m, parts[p].end
		if m != nil {
			for i, key := range keys[lo:hi] {
				if x, ok := m.Position(key); ok {
					g.key[pending], g.x[pending] = uint16(lo+i), x
					pending++
					read += m.Load(x)
				}
			}
		}
		lo, parts[p].end = hi, pending
	}
	runtime.KeepAlive(read)
	lo = 0
	for p := range parts {
		m, hi := parts[p].m, parts[p].end
		for i, x := range g.x[lo:hi] {
			g.from[lo+i] = m.Window(x)
		}
		lo = hi
	}
	for try := 0; try < maxWindows && pending > 0; try++ {
		sum := byte(0)
		lo = 0
		for p := range parts {
			s, hi := parts[p].s, parts[p].end
			for _, from := range g.from[lo:hi] {
				off := format.HeaderLen + from*format.RecordLen
				sum += s.at.At(off) + s.at.At(off+64) + s.at.At(off+128) + s.at.At(off+192)
			}
			lo = hi
		}
		runtime.KeepAlive(sum)
		lo, pending = 0, 0
		for p := range parts {
			s, m, hi := parts[p].s, parts[p].m, parts[p].end
			for j := lo; j < hi; j++ {
				i, x, from := g.key[j], g.x[j], g.from[j]
				key := keys[i]
				if err := s.read(w[:], format.BlockOff(0)+int64(from)*format.RecordLen); err != nil {
					return err
				}
				switch n := w.rank(key, m.PrefixLen()); {
				case n < learned.WindowLen && w.key(n) == key:
					copy(records[i][:], w[n*format.RecordLen:])
					found[i] = records[i].Validate(parts[p].numStyles)
				case n == 0 || n == learned.WindowLen:
					g.key[pending], g.x[pending], g.from[pending] = i, x, m.Correct(x, from, w.key(0), n > 0)
					pending++
				}
			}
			lo, parts[p].end = hi, pending
		}
	}
	return nil
}
