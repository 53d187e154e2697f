package lookups

import (
	"context"
	"errors"
	"fmt"
	"io"

	"promostore/bench/peer"
	"promostore/format"
)

// warmEvery is one of how many records is looked up to warm a store. A page of
// 4 KiB has at least 30 records in all of them, and they keep neighbours
// together, so that every page and every block comes into memory, and into the
// store's own cache.
const warmEvery = 16

// warm looks one of warmEvery records up with get, of the n from lo on, in the
// order of the file.
func (t *table) warm(ctx context.Context, lo, n int64, get func(format.Key) error) error {
	var id [format.KeyLen]byte
	for i := lo; i < lo+n; i += warmEvery {
		if _, err := t.at.ReadAt(id[:], recordOff(uint64(i))); err != nil {
			return err
		}
		key := format.KeyAt(id[:])
		if err := get(key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		if i/warmEvery%atOnce == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// warmFloor reads the n records from lo on through the mapping of the floor.
func (t *table) warmFloor(lo, n int64) func(context.Context) error {
	return func(ctx context.Context) error {
		in := io.NewSectionReader(t.at, recordOff(uint64(lo)), n*format.RecordLen)
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{in}, make([]byte, 1<<20))
		return errors.Join(err, ctx.Err())
	}
}

// warmOurs reads as much of the reader's mapping, and what it needs to find it.
func (t *table) warmOurs(lo, n int64) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := t.warmFloor(lo, n)(ctx); err != nil { // in sequence, if it comes from a disk
			return err
		}
		return t.warm(ctx, lo, n, func(key format.Key) error {
			_, found, err := t.file.Get(key)
			return present(found, err)
		})
	}
}

// warmPeer does the same to a peer with all records.
func (t *table) warmPeer(r peer.Reader) func(context.Context) error {
	var id [format.KeyLen]byte
	var buf []byte
	return func(ctx context.Context) error {
		return t.warm(ctx, 0, t.rows, func(key format.Key) error {
			peer.PutKey(&id, key)
			v, found, err := r.Get(&id, buf[:0])
			buf = v
			return present(found, err)
		})
	}
}

// warmMap does the same to a map.
func (t *table) warmMap(m goMap) func(context.Context) error {
	return func(ctx context.Context) error {
		return t.warm(ctx, 0, t.rows, func(key format.Key) error {
			_, found := m[key]
			return present(found, nil)
		})
	}
}

// present is err, or that an id was not found.
func present(found bool, err error) error {
	if err == nil && !found {
		err = errAbsent
	}
	return err
}
