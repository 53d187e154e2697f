package load

import "math/bits"

// subBits is the precision of a histogram: each power of two has 128 buckets,
// so that a value is known to 0.8 %.
const subBits = 7

// A histogram counts times in nanoseconds.
type histogram struct {
	counts [(64 - subBits) << subBits]int64
	count  int64
	max    int64
}

func (h *histogram) record(ns int64) {
	ns = max(ns, 0)
	h.counts[bucket(uint64(ns))]++
	h.count++
	h.max = max(h.max, ns)
}

// bucket is v itself below 128, then 128 for each power of two.
func bucket(v uint64) int {
	shift := max(bits.Len64(v)-subBits-1, 0)
	return shift<<subBits + int(v>>shift)
}

// least is the smallest value in bucket i.
func least(i int) uint64 {
	shift := max(i>>subBits-1, 0)
	return uint64(i-shift<<subBits) << shift
}

func (h *histogram) add(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.count += o.count
	h.max = max(h.max, o.max)
}

// quantile is the time that the part q of all is not above; 0 if there are
// none.
func (h *histogram) quantile(q float64) float64 {
	rank := int64(q * float64(h.count))
	for i, n := range h.counts {
		if rank -= n; rank < 0 {
			return min(float64(least(i)+least(i+1))/2, float64(h.max))
		}
	}
	return float64(h.max)
}
