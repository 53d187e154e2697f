package page

import (
	"slices"
	"sync"
	"time"
)

// Totals are the counters of a program since its start.
type Totals struct {
	Requests, Errors uint64
	Buckets          []uint64 // requests by their duration, according to the bounds of the Recorder; the last has none
}

// A Recorder makes an Activity of the counters of a program, which it reads once a
// minute. It is safe for concurrent use.
type Recorder struct {
	bounds []time.Duration // upper bounds of the buckets
	read   func() Totals

	mu       sync.Mutex // guards the fields below
	last     Totals
	activity Activity
}

// NewRecorder returns a Recorder of the counters that read returns. bounds are the
// upper bounds of its buckets.
func NewRecorder(bounds []time.Duration, read func() Totals) *Recorder {
	return &Recorder{bounds: bounds, read: read, last: read()}
}

// Run ends a minute with each tick, until stop is closed.
func (r *Recorder) Run(ticks <-chan time.Time, stop <-chan struct{}) {
	for {
		select {
		case now := <-ticks:
			r.tick(now)
		case <-stop:
			return
		}
	}
}

// tick ends a minute.
func (r *Recorder) tick(now time.Time) {
	totals := r.read()
	r.mu.Lock()
	defer r.mu.Unlock()
	buckets := make([]uint64, len(totals.Buckets))
	for i := range buckets {
		buckets[i] = totals.Buckets[i] - r.last.Buckets[i]
	}
	a := &r.activity
	copy(a.Minutes[:], a.Minutes[1:])
	a.Minutes[Minutes-1] = Minute{
		Requests: totals.Requests - r.last.Requests,
		Errors:   totals.Errors - r.last.Errors,
		P50:      quantile(r.bounds, buckets, 0.50),
		P99:      quantile(r.bounds, buckets, 0.99),
	}
	until := now.UTC().Truncate(time.Second)
	a.Until = &until
	r.last = totals
}

// Activity returns the complete minutes.
func (r *Recorder) Activity() Activity {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.activity
}

// quantile estimates a quantile in seconds. Like that of Prometheus, it is
// interpolated in a bucket, and at most the highest bound.
func quantile(bounds []time.Duration, buckets []uint64, q float64) float64 {
	total := uint64(0)
	for _, n := range buckets {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank := q * float64(total)
	for i, bound := range bounds {
		n := float64(buckets[i])
		if rank > n || n == 0 {
			rank -= n
			continue
		}
		lower := time.Duration(0)
		if i > 0 {
			lower = bounds[i-1]
		}
		return (float64(lower) + float64(bound-lower)*rank/n) / float64(time.Second)
	}
	return slices.Max(bounds).Seconds()
}
