package page

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRecorderKeepsAnHour compares a Recorder with the differences of all minutes.
func TestRecorderKeepsAnHour(t *testing.T) {
	bounds := []time.Duration{time.Millisecond, time.Second}
	rapid.Check(t, func(t *rapid.T) {
		now := Totals{Requests: 5, Errors: 2, Buckets: []uint64{1, 2, 2}} // before the Recorder
		r := NewRecorder(bounds, func() Totals { return Totals{now.Requests, now.Errors, slices.Clone(now.Buckets)} })
		if a := r.Activity(); a.Until != nil || a.Minutes != [Minutes]Minute{} {
			t.Fatalf("at first %+v", a)
		}
		all := make([]Minute, Minutes)
		clock := time.Date(2026, 11, 27, 9, 30, 0, 1, time.UTC)
		for range rapid.IntRange(1, 2*Minutes+1).Draw(t, "minutes") {
			fast, slow := rapid.Uint64Range(0, 3).Draw(t, "fast"), rapid.Uint64Range(0, 3).Draw(t, "slow")
			errors := rapid.Uint64Range(0, fast+slow).Draw(t, "errors")
			now.Requests, now.Errors = now.Requests+fast+slow, now.Errors+errors
			now.Buckets[0], now.Buckets[2] = now.Buckets[0]+fast, now.Buckets[2]+slow
			clock = clock.Add(time.Minute)
			r.tick(clock)
			all = append(all, Minute{Requests: fast + slow, Errors: errors})
		}
		a := r.Activity()
		if want := clock.Truncate(time.Second); !a.Until.Equal(want) {
			t.Errorf("until %v, want %v", a.Until, want)
		}
		for i, want := range all[len(all)-Minutes:] {
			if got := a.Minutes[i]; got.Requests != want.Requests || got.Errors != want.Errors || (got.P99 > 0) != (want.Requests > 0) || got.P50 > got.P99 {
				t.Errorf("minute %d is %+v, want %+v", i, got, want)
			}
		}
	})
}

// TestQuantileIsInBucket compares an estimate with the quantile of the durations.
func TestQuantileIsInBucket(t *testing.T) {
	bounds := []time.Duration{10, 25, 100, 1000}
	rapid.Check(t, func(t *rapid.T) {
		samples := rapid.SliceOfN(rapid.Int64Range(0, 1000), 1, 200).Draw(t, "samples")
		q := rapid.SampledFrom([]float64{0.5, 0.99}).Draw(t, "q")
		buckets := make([]uint64, len(bounds)+1)
		bucketOf := func(d int64) int {
			return slices.IndexFunc(bounds, func(b time.Duration) bool { return time.Duration(d) <= b })
		}
		for _, d := range samples {
			buckets[bucketOf(d)]++
		}
		slices.Sort(samples)
		exact := bucketOf(samples[int(math.Ceil(q*float64(len(samples))))-1])
		lower := 0.0
		if exact > 0 {
			lower = bounds[exact-1].Seconds()
		}
		if got := quantile(bounds, buckets, q); got < lower || got > bounds[exact].Seconds()*(1+1e-9) {
			t.Errorf("%v is not from %v to %v", got, lower, bounds[exact].Seconds())
		}
	})
	if got := quantile(bounds, []uint64{0, 0, 0, 0, 7}, 0.5); got != 1e-6 {
		t.Errorf("above the highest bound: %v", got)
	}
}
