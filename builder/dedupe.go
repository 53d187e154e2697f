package builder

import (
	"slices"
	"sync"

	"promostore/format"
)

// A deduper leaves one record of each key. Safe for concurrent use.
type deduper struct {
	policy Duplicates

	mu    sync.Mutex
	count int64        // records that gave way
	keys  []format.Key // under Refuse: the lowest that came twice, sorted
}

// maxShown is how many bad rows or repeated ids an error names.
const maxShown = 20

// dedupe removes from sorted records all but one of each key, and returns what
// is left, in the same memory. Of equal keys the last must be the one that
// came last in the input.
func (d *deduper) dedupe(records []format.Record) []format.Record {
	n := 1
	for ; n < len(records) && records[n].Key() != records[n-1].Key(); n++ {
	}
	if n >= len(records) {
		return records
	}
	for i := n; i < len(records); i++ {
		if records[i].Key() == records[n-1].Key() {
			d.replace(&records[n-1], &records[i])
		} else {
			records[n] = records[i]
			n++
		}
	}
	return records[:n]
}

// replace decides between two records of the same key, of which later came
// later in the input, and leaves the winner in kept.
func (d *deduper) replace(kept, later *format.Record) {
	if d.policy == KeepLast {
		*kept = *later
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.count++
	if d.policy != Refuse {
		return
	}
	k := kept.Key()
	if i, found := slices.BinarySearchFunc(d.keys, k, format.Key.Compare); !found && i < maxShown {
		d.keys = slices.Insert(d.keys, i, k)
		d.keys = d.keys[:min(len(d.keys), maxShown)]
	}
}

// err is the error of Refuse, if there is one.
func (d *deduper) err() error {
	if d.policy != Refuse || d.count == 0 {
		return nil
	}
	e := &DuplicatesError{Count: d.count}
	for _, k := range d.keys {
		e.IDs = append(e.IDs, k.String())
	}
	return e
}
