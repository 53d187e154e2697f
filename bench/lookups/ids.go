package lookups

import (
	"math/bits"

	"golang.org/x/exp/mmap"

	"promostore/format"
	"promostore/internal/synth"
)

// ids gives ids that are there, in random order. Each depends on a byte of
// what was read before, so that no lookup begins before the last has ended. i
// is a random record, as a place for the floor to read.
type ids func(read byte) (i uint64, key format.Key)

// computed are the ids of the first n rows of a table. They are computed,
// since reading them would be one more read from memory.
func computed(keys synth.Keys, n int64) ids {
	// Without counting, the numbers would soon go round in a cycle that fits
	// into a cache.
	step := uint64(0)
	return func(read byte) (uint64, format.Key) {
		i, _ := bits.Mul64(mix(step<<8|uint64(read)), uint64(n))
		step++
		return i, keys.At(i)
	}
}

// mix spreads x over 64 bits: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// numSamples is how many ids are taken out of a file: their 96 MB are more
// than a cache has.
const numSamples = 4 << 20

// A sample is the id of record i.
type sample struct {
	i   uint64
	key format.Key
}

// sampleOf takes random ids of the n records from lo on out of the file.
func sampleOf(at *mmap.ReaderAt, lo, n int64) ([]sample, error) {
	samples := make([]sample, numSamples)
	var b [format.KeyLen]byte
	for j := range samples {
		offset, _ := bits.Mul64(mix(uint64(j)), uint64(n))
		i := uint64(lo) + offset
		if _, err := at.ReadAt(b[:], recordOff(i)); err != nil {
			return nil, err
		}
		samples[j] = sample{i, format.KeyAt(b[:])}
	}
	return samples, nil
}

// sampled are the ids of samples. They are read one after the other, which the
// processor foresees and which costs next to nothing.
func sampled(samples []sample) ids {
	step := 0
	return func(read byte) (uint64, format.Key) {
		s := &samples[(step+int(read&1))%numSamples]
		step += 2
		return s.i, s.key
	}
}

// recordOff is where a record is in the file.
func recordOff(i uint64) int64 {
	return format.BlockOff(0) + int64(i)*format.RecordLen
}
