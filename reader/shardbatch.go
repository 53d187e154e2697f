package reader

import (
	"runtime/debug"
	"sync"

	"promostore/format"
)

// GetBatch looks up keys and sets records[i] and found[i] for keys[i], like
// File.GetBatch. It does not allocate. After an error, which is that of one of the
// keys, their content is undefined. If shards of keys are not owned, the error
// wraps ErrForeign and names the first of these keys.
func (g *Generation) GetBatch(keys []format.Key, records []format.Record, found []bool) error {
	if len(g.files) == 1 {
		return g.files[0].GetBatch(keys, records, found)
	}
	if len(g.owned) < len(g.files) {
		for _, k := range keys {
			if !g.Owns(k) {
				return foreign(k)
			}
		}
	}
	b := shardBatches.Get().(*shardBatch)
	defer shardBatches.Put(b)
	for len(keys) > 0 {
		n := min(len(keys), shardBatchLen)
		if err := b.get(g, keys[:n], records[:n], found[:n]); err != nil {
			return err
		}
		keys, records, found = keys[n:], records[n:], found[n:]
	}
	return nil
}

// shardBatchLen is the number of keys that are sorted by shard together. It bounds
// the memory of a shardBatch to 60 KiB.
const shardBatchLen = 1024

// A shardBatch sorts keys by shard. Groups of consecutive keys are then looked up
// together, even if they are of several files.
type shardBatch struct {
	end   [format.MaxShards]uint16 // of each shard's keys in sorted
	place [shardBatchLen]uint16    // in sorted, of each key

	// Sorted by shard.
	sorted  [shardBatchLen]format.Key
	records [shardBatchLen]format.Record
	found   [shardBatchLen]bool
}

var shardBatches = sync.Pool{New: func() any { return new(shardBatch) }}

// get is GetBatch for at most shardBatchLen keys of owned shards.
func (b *shardBatch) get(g *Generation, keys []format.Key, records []format.Record, found []bool) error {
	b.sort(g.Sharding(), keys)
	clear(b.found[:len(keys)])
	// finishBatch repeats an error, and names the key.
	_ = b.find(g, len(keys))
	from := uint16(0)
	for shard, to := range b.end[:len(g.files)] {
		if from < to {
			if err := g.files[shard].finishBatch(b.sorted[from:to], b.records[from:to], b.found[from:to]); err != nil {
				return err
			}
		}
		from = to
	}
	for i, at := range b.place[:len(keys)] {
		records[i], found[i] = b.records[at], b.found[at]
	}
	return nil
}

// sort sets sorted, place and end.
func (b *shardBatch) sort(s format.Sharding, keys []format.Key) {
	end := b.end[:s.Shards]
	clear(end)
	for _, k := range keys {
		end[s.ShardOf(k)]++
	}
	sum := uint16(0)
	for shard, n := range end {
		end[shard] = sum // the begin, which the next loop moves to the end
		sum += n
	}
	for i, k := range keys {
		at := &end[s.ShardOf(k)]
		b.place[i], b.sorted[*at] = *at, k
		*at++
	}
}

// find is File.findBatch for the first n sorted keys, of any files.
func (b *shardBatch) find(g *Generation, n int) (err error) {
	defer recoverFault(debug.SetPanicOnFault(true), &err)
	var all [groupLen]part
	shard := 0
	for lo := 0; lo < n; lo += groupLen {
		hi := min(lo+groupLen, n)
		parts := all[:0]
		for at := lo; at < hi; {
			for int(b.end[shard]) <= at {
				shard++
			}
			at = min(int(b.end[shard]), hi)
			parts = append(parts, g.files[shard].part(at-lo))
		}
		if err := findGroup(parts, b.sorted[lo:hi], b.records[lo:hi], b.found[lo:hi]); err != nil {
			return err
		}
	}
	return nil
}
