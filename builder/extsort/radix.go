package extsort

import (
	"math/bits"

	"promostore/format"
)

// Radix sort. Records are sorted by their 128-bit keys, stably: of records with
// equal keys the last in the input stays last.
//
// The method is a most-significant-digit radix sort out of place (McIlroy,
// Bostic and McIlroy, "Engineering Radix Sort", Computing Systems 6(1), 1993):
// find the first bit in which the keys differ, scatter by the bits from there
// on, sort each group in the same way, and finish small groups by insertion.
// Because each level skips the common prefix, keys with long common prefixes
// (UUID v7, sequential) cost the same as random keys.

const (
	maxDigitBits = 11 // 2048 counters stay in the first-level cache
	insertionMax = 24 // records sorted by insertion
)

// sortRecords sorts a stably. tmp must have the same length; its content is
// overwritten.
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
	// Each counter is now the end of its group.
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

// digit returns n bits of the key of r, after the first skip bits. skip + n must
// be at most 128.
func digit(r *format.Record, skip, n uint) uint64 {
	k := r.Key()
	if skip < 64 {
		return (k.Hi<<skip | k.Lo>>(64-skip)) >> (64 - n)
	}
	return k.Lo << (skip - 64) >> (64 - n)
}

// commonPrefix returns the number of leading bits that all keys share.
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

// insertInto writes the records of src to dst, sorted.
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
