package reader

import (
	"context"

	"promostore/format"
)

// FindNear is the part of Get that goes by the table which Verify has learned.
func FindNear(f *File, key format.Key) (found bool, err error) {
	t := f.ranks.Load()
	if t == nil {
		return false, nil
	}
	x, ok := t.position(key)
	if !ok {
		return false, nil
	}
	var r format.Record
	found, _, err = f.mapped.findNear(key, t, x, &r)
	return found, err
}

// Warm touches every page of a mapping.
func Warm(ctx context.Context, f *File) error { return f.warm(ctx) }

// ReopenError is what becomes of an error from a path in /proc.
func ReopenError(err error) error { return reopenError(err) }
