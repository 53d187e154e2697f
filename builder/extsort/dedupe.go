package extsort

import (
	"slices"
	"sync"

	"promostore/format"
)

// A deduper keeps one record of each key. It is safe for concurrent use.
type deduper struct {
	keepFirst bool // or the last
	maxKeys   int
	shardBits uint // the first bits of a key as it is sorted
	rotation  uint // bits by which keys are rotated

	mu     sync.Mutex   // guards counts and keys
	counts []int64      // removed records of each shard
	keys   []format.Key // the lowest maxKeys repeated keys, sorted
}

func newDeduper(cfg Config) deduper {
	return deduper{
		keepFirst: cfg.KeepFirst,
		maxKeys:   cfg.MaxRepeated,
		shardBits: uint(cfg.Sharding.Bits()),
		rotation:  rotationOf(cfg.Sharding),
		counts:    make([]int64, cfg.Sharding.Shards),
	}
}

// dedupe removes all but one record of each key from sorted records. It returns
// the remaining records, in the same memory. Records with equal keys and the same
// lane must be in the order of the input.
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

// replace removes one of two records with the same key; the remaining record is
// stored in kept. If both have the same lane, other comes after kept in the input.
func (d *deduper) replace(kept, other *format.Record) {
	earlier := other.Tag() < kept.Tag()
	if earlier == d.keepFirst {
		*kept = *other
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[kept.Key().Hi>>(64-d.shardBits)]++
	if d.maxKeys == 0 {
		return
	}
	k := originalKey(kept.Key(), d.rotation)
	if i, found := slices.BinarySearchFunc(d.keys, k, format.Key.Compare); !found && i < d.maxKeys {
		d.keys = slices.Insert(d.keys, i, k)
		d.keys = d.keys[:min(len(d.keys), d.maxKeys)]
	}
}
