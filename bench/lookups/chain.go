package lookups

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/exp/mmap"

	"promostore/bench/contest"
	"promostore/bench/peer"
	"promostore/format"
	"promostore/reader"
)

// A chain makes n lookups, each of which depends on what the one before it
// read, and on read for the first. It returns the last byte that it read.
type chain func(n int, read byte) (byte, error)

var errAbsent = errors.New("an id that is there was not found")

// turnTime is how long a turn takes; less in tests.
var turnTime = 200 * time.Millisecond

const (
	warmTime = 2 * time.Second
	warmUp   = 1_000_000 // lookups, after which no page is touched for the first time
	atOnce   = 1000      // lookups between two looks at the clock
)

// contestant makes the lookups of c.
func (c chain) contestant(name, setup string) contest.Contestant {
	read := byte(0)
	return warmed(name, setup, func(ctx context.Context, most float64, limit time.Duration) (s contest.Sample, err error) {
		for start := time.Now(); s.Took < limit && s.N < most; s.Took = time.Since(start) {
			if err := ctx.Err(); err != nil {
				return s, err
			}
			if read, err = c(atOnce, read); err != nil {
				return s, err
			}
			s.N += atOnce
		}
		return s, nil
	})
}

// warmed is a contestant whose turns take turnTime. The first one warms up
// before. during makes lookups until there were most of them or limit is over.
func warmed(name, setup string, during func(ctx context.Context, most float64, limit time.Duration) (contest.Sample, error)) contest.Contestant {
	warm := false
	return contest.Contestant{Name: name, Setup: setup, Run: func(ctx context.Context) (contest.Sample, error) {
		if !warm {
			if _, err := during(ctx, warmUp, warmTime); err != nil {
				return contest.Sample{}, err
			}
			warm = true
		}
		s, err := during(ctx, math.Inf(1), turnTime)
		s.More = map[string]float64{"ns": float64(s.Took.Nanoseconds()) / s.N}
		return s, err
	}}
}

// ours looks ids up with the reader.
func ours(f *reader.File, next ids) chain {
	return func(n int, read byte) (byte, error) {
		for range n {
			_, key := next(read)
			r, found, err := f.Get(key)
			if !found || err != nil {
				return read, errors.Join(err, errAbsent)
			}
			read = r[lastOfPrice]
		}
		return read, nil
	}
}

// lastOfPrice is a random byte of a record.
const lastOfPrice = 23

// floor is one read of a mapping for each id, which is made like those that
// are looked up and is a part of the address.
func floor(at *mmap.ReaderAt, next ids) chain {
	return func(n int, read byte) (byte, error) {
		for range n {
			i, key := next(read)
			read = at.At(int(recordOff(i)) + lastOfPrice - int(key.Lo&1))
		}
		return read, nil
	}
}

// theirs looks ids up with a peer.
func theirs(r peer.Reader, next ids) chain {
	var id [format.KeyLen]byte
	var buf []byte
	return func(n int, read byte) (byte, error) {
		for range n {
			_, key := next(read)
			peer.PutKey(&id, key)
			v, found, err := r.Get(&id, buf[:0])
			if !found || err != nil {
				return read, errors.Join(err, errAbsent)
			}
			read, buf = v[lastDigit], v
		}
		return read, nil
	}
}

// lastDigit is a random byte of a price and a date of the CSV.
const lastDigit = 7

// goMap looks ids up in a Go map of all records of f.
func goMap(ctx context.Context, f *reader.File, next ids) (chain, error) {
	type record [format.RecordLen - format.KeyLen]byte
	m := make(map[format.Key]record, f.Header().Records)
	err := f.Scan(ctx, func(records []format.Record) error {
		for i := range records {
			m[records[i].Key()] = record(records[i][format.KeyLen:])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return func(n int, read byte) (byte, error) {
		for range n {
			_, key := next(read)
			r, found := m[key]
			if !found {
				return read, errAbsent
			}
			read = r[lastOfPrice-format.KeyLen]
		}
		return read, nil
	}, nil
}
