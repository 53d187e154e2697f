package lookups

import (
	"context"
	"errors"
	"fmt"
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

// atOnce is lookups between two looks at the clock.
const atOnce = 1000

// contestant makes the lookups of c.
func (c chain) contestant(name, setup string, warm func(context.Context) error) contest.Contestant {
	read := byte(0)
	return warmed(name, setup, warm, func(ctx context.Context) (s contest.Sample, err error) {
		for start := time.Now(); s.Took < turnTime; s.Took = time.Since(start) {
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

// warmed is a contestant whose turns are those of turn. Before the first come
// warm, which touches all that turn may touch, and a turn that does not count.
func warmed(name, setup string, warm func(context.Context) error, turn func(context.Context) (contest.Sample, error)) contest.Contestant {
	isWarm := false
	return contest.Contestant{Name: name, Setup: setup, Run: func(ctx context.Context) (contest.Sample, error) {
		if !isWarm {
			if err := warm(ctx); err != nil {
				return contest.Sample{}, fmt.Errorf("warming: %w", err)
			}
			if _, err := turn(ctx); err != nil {
				return contest.Sample{}, err
			}
			isWarm = true
		}
		s, err := turn(ctx)
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

// making makes ids, and reads nothing.
func making(next ids) chain {
	return func(n int, read byte) (byte, error) {
		for range n {
			_, key := next(read)
			read = byte(key.Lo)
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

// A goMap is records without their ids.
type goMap map[format.Key][format.RecordLen - format.KeyLen]byte

// newGoMap has all records of f.
func newGoMap(ctx context.Context, f *reader.File) (goMap, error) {
	m := make(goMap, f.Header().Records)
	err := f.Scan(ctx, func(records []format.Record) error {
		for i := range records {
			m[records[i].Key()] = [format.RecordLen - format.KeyLen]byte(records[i][format.KeyLen:])
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return m, nil
}

// chain looks ids up in m.
func (m goMap) chain(next ids) chain {
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
	}
}
