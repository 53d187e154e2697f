package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestHistogram compares quantiles with those of the sorted times.
func TestHistogram(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{1, 2, 100, 10_000} {
		var a, b histogram
		times := make([]int64, n)
		for i := range times {
			times[i] = int64(math.Exp(rng.Float64() * 25))
			if i%2 == 0 {
				a.record(times[i])
			} else {
				b.record(times[i])
			}
		}
		a.add(&b)
		slices.Sort(times)
		if a.count != int64(n) || a.max != times[n-1] {
			t.Fatalf("count %d, max %d; want %d, %d", a.count, a.max, n, times[n-1])
		}
		for _, q := range []float64{0, 0.5, 0.99, 0.999} {
			got, want := a.quantile(q), float64(times[int(q*float64(n))])
			if math.Abs(got-want) > want/100+1 {
				t.Errorf("quantile %v of %d times = %v, want %v", q, n, got, want)
			}
		}
	}
	if q := new(histogram).quantile(0.5); q != 0 {
		t.Errorf("quantile of nothing = %v", q)
	}
}

// TestBucket checks that buckets follow one another without gaps.
func TestBucket(t *testing.T) {
	for i := range len(histogram{}.counts) {
		if got := bucket(least(i)); got != i {
			t.Fatalf("least value %d of bucket %d is in bucket %d", least(i), i, got)
		}
		if i > 0 && bucket(least(i)-1) != i-1 {
			t.Fatalf("the value before bucket %d is in bucket %d", i, bucket(least(i)-1))
		}
	}
	if i := bucket(math.MaxInt64); i >= len(histogram{}.counts) {
		t.Errorf("the longest time is in bucket %d", i)
	}
}
