package extsort

import "promostore/format"

// Shards. The sink gets the records of one shard after the other. The number of the
// shard is in the bits at one end of the key. With format.ShardFirst these are the
// first bits that a sort compares. With format.ShardLast, Add rotates the keys right by
// these bits, and Emit rotates them back. Between the two, the order of the keys is
// that of the shards and, within a shard, that of the ids. Keys of any kind cost
// the same as before, because the sort skips the bits that they share.

// rotationOf returns the number of bits by which keys are rotated right while they
// are sorted.
func rotationOf(s format.Sharding) uint {
	if s.Rule == format.ShardLast {
		return uint(s.Bits())
	}
	return 0
}

// rotate rotates the key of each record right by n bits, 0 to 63.
func rotate(records []format.Record, n uint) {
	for i := range records {
		k := records[i].Key()
		records[i].SetKey(format.Key{Hi: k.Hi>>n | k.Lo<<(64-n), Lo: k.Lo>>n | k.Hi<<(64-n)})
	}
}

// rotateBack is the inverse of rotate.
func rotateBack(records []format.Record, n uint) {
	for i := range records {
		records[i].SetKey(originalKey(records[i].Key(), n))
	}
}

// originalKey rotates k left by n bits, 0 to 63.
func originalKey(k format.Key, n uint) format.Key {
	return format.Key{Hi: k.Hi<<n | k.Lo>>(64-n), Lo: k.Lo<<n | k.Hi>>(64-n)}
}

// A rotated is a Sink that rotates the keys back.
type rotated struct {
	Sink
	bits uint
}

func (r rotated) Prepare(records []format.Record) {
	rotateBack(records, r.bits)
	r.Sink.Prepare(records)
}
