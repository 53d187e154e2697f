package lookups

import (
	"context"
	"errors"
	"time"

	"promostore/bench/contest"
	"promostore/internal/synth"
	"promostore/reader"
)

// waitTime is how long a turn of Waiting takes; less in tests.
var waitTime = time.Second

// chainedRounds are turns of Chained and Waiting; the median counts.
const chainedRounds = 3

// Chained is the nanoseconds of a lookup in the newest generation of dir, which
// must fit into memory, one after the other as in the contests. Its ids are
// version 4 ids with seed 0.
func Chained(ctx context.Context, dir string) (ns float64, err error) {
	t, err := openDir(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	c := ours(t.file, t.ids()).contestant("promostore", ourSetup, t.warmOurs(0, t.rows))
	var all []float64
	for range chainedRounds {
		s, err := c.Run(ctx)
		if err != nil {
			return 0, err
		}
		all = append(all, s.More["ns"])
	}
	return contest.Median(all), nil
}

// Waiting is the same of a file that is larger than memory, so that most
// lookups wait for the disk. Nothing is warmed.
func Waiting(ctx context.Context, path string) (ns float64, err error) {
	const some = 10 // lookups between two looks at the clock
	f, err := reader.Open(path, reader.AccessAuto)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	lookup := ours(f, computed(synth.Keys{}, int64(f.Header().Records)))
	var all []float64
	read := byte(0)
	for range chainedRounds {
		n, start := 0, time.Now()
		for ; time.Since(start) < waitTime; n += some {
			if read, err = lookup(some, read); err != nil {
				return 0, err
			}
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
		}
		all = append(all, float64(time.Since(start).Nanoseconds())/float64(n))
	}
	return contest.Median(all), nil
}
