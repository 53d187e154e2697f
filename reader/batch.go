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
	if m := f.model.Load(); m != nil {
		// The loop below repeats an error, and names the key.
		_ = f.mmap.findBatch(keys, m, len(f.index.Styles), records, found)
	}
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

// A group is the state of keys that are looked up together. Pending keys are at
// the front of each array.
type group struct {
	key  [groupLen]uint16 // index in the keys of the group
	from [groupLen]int    // first record of the window to search next
	x    [groupLen]learned.Position
}

// findBatch is findPredicted for many keys. It sets records[i] and found[i] if
// it finds keys[i] and the record is valid. It decides nothing about the others.
func (s *mmapSource) findBatch(keys []format.Key, m *learned.Model, numStyles int, records []format.Record, found []bool) (err error) {
	if s.at.Len() == 0 {
		return nil // closed
	}
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	for lo := 0; lo < len(keys); lo += groupLen {
		hi := min(lo+groupLen, len(keys))
		if err := s.findGroup(keys[lo:hi], m, numStyles, records[lo:hi], found[lo:hi]); err != nil {
			return err
		}
	}
	return nil
}

// findGroup is findBatch for at most groupLen keys. Each of its loops reads
// from addresses that do not depend on one another.
func (s *mmapSource) findGroup(keys []format.Key, m *learned.Model, numStyles int, records []format.Record, found []bool) error {
	var g group
	var w window
	pending := 0
	// Load the segments first, in a loop so short that the processor overlaps
	// many of its iterations: 100 M random keys are a tenth faster for it.
	read := uint64(0)
	for i, key := range keys {
		if x, ok := m.Position(key); ok {
			g.key[pending], g.x[pending] = uint16(i), x
			pending++
			read += m.Load(x)
		}
	}
	runtime.KeepAlive(read)
	for i, x := range g.x[:pending] {
		g.from[i] = m.Window(x)
	}
	for try := 0; try < maxWindows && pending > 0; try++ {
		sum := byte(0)
		for _, from := range g.from[:pending] {
			off := format.HeaderLen + from*format.RecordLen
			sum += s.at.At(off) + s.at.At(off+64) + s.at.At(off+128) + s.at.At(off+192)
		}
		runtime.KeepAlive(sum)
		n := pending
		pending = 0
		for j := range n {
			i, x, from := g.key[j], g.x[j], g.from[j]
			key := keys[i]
			if err := s.read(w[:], format.BlockOff(0)+int64(from)*format.RecordLen); err != nil {
				return err
			}
			switch n := w.rank(key, m.PrefixLen()); {
			case n < learned.WindowLen && w.key(n) == key:
				copy(records[i][:], w[n*format.RecordLen:])
				found[i] = records[i].Validate(numStyles)
			case n == 0 || n == learned.WindowLen:
				g.key[pending], g.x[pending], g.from[pending] = i, x, m.Correct(x, from, w.key(0), n > 0)
				pending++
			}
		}
	}
	return nil
}
