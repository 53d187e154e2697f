package builder

import (
	"math/bits"

	"promostore/format"
)

// Sorting. Records are sorted by their 128-bit keys, stably, so that of equal
// ids the one that came last in the input stands last. The method is a
// most-significant-digit radix sort out of place: look for the first bit in
// which keys differ, scatter by the few bits from there on, and finish the
// small groups by insertion. Looking for that bit each time is what makes keys
// with long common prefixes (v7, sequential) cost the same as random ones.
// McIlroy, Bostic, McIlroy, "Engineering Radix Sort", 1993.

const (
	maxDigitBits = 11 // 2048 counters stay in the first-level cache
	insertionMax = 24 // records
)

// sortRecords sorts a stably. tmp must be as long; its content is lost.
func sortRecords(a, tmp []format.Record) {
	if len(a) <= insertionMax {
		insertionSort(a)
		return
	}
	skip := commonPrefix(a)
	if skip == 128 {
		return
	}
	digitBits := uint(min(bits.Len(uint(len(a)))-2, maxDigitBits, 128-skip))
	var counts [1 << maxDigitBits]uint32
	for i := range a {
		counts[digit(&a[i], uint(skip), digitBits)]++
	}
	sum := uint32(0)
	for d := range counts[:1<<digitBits] {
		counts[d], sum = sum, sum+counts[d]
	}
	for i := range a {
		d := digit(&a[i], uint(skip), digitBits)
		tmp[counts[d]] = a[i]
		counts[d]++
	}
	lo := 0
	for _, end := range counts[:1<<digitBits] {
		hi := int(end)
		switch n := hi - lo; {
		case n == 1:
			a[lo] = tmp[lo]
		case n == 0:
		case n <= insertionMax:
			insertInto(a[lo:hi], tmp[lo:hi])
		default:
			copy(a[lo:hi], tmp[lo:hi])
			sortRecords(a[lo:hi], tmp[lo:hi])
		}
		lo = hi
	}
}

// digit is the n bits of r's key behind the first skip; skip + n ≤ 128.
func digit(r *format.Record, skip, n uint) uint64 {
	k := r.Key()
	if skip < 64 {
		return (k.Hi<<skip | k.Lo>>(64-skip)) >> (64 - n)
	}
	return k.Lo << (skip - 64) >> (64 - n)
}

// commonPrefix is the number of leading bits in which all keys agree.
func commonPrefix(a []format.Record) int {
	first := a[0].Key()
	var diff format.Key
	for i := range a {
		k := a[i].Key()
		diff.Hi |= k.Hi ^ first.Hi
		diff.Lo |= k.Lo ^ first.Lo
	}
	return diff.CommonPrefix(format.Key{})
}

func insertionSort(a []format.Record) {
	for i := 1; i < len(a); i++ {
		r := a[i]
		k := r.Key()
		j := i
		for ; j > 0 && k.Less(a[j-1].Key()); j-- {
			a[j] = a[j-1]
		}
		a[j] = r
	}
}

// insertInto fills dst with the records of src, sorted.
func insertInto(dst, src []format.Record) {
	for i := range src {
		k := src[i].Key()
		j := i
		for ; j > 0 && k.Less(dst[j-1].Key()); j-- {
			dst[j] = dst[j-1]
		}
		dst[j] = src[i]
	}
}
