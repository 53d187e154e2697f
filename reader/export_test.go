package reader

import (
	"context"

	"promostore/format"
)

// FirstWindow is the records, from one until before another, among which Get
// looks first by the table that Verify has learned; ok is false if it does not.
func FirstWindow(f *File, key format.Key) (from, to int, ok bool) {
	t := f.ranks.Load()
	if t == nil {
		return 0, 0, false
	}
	x, ok := t.position(key)
	from = t.firstWindow(x)
	return from, from + narrow, ok
}

// Touched is the record that Get touches before it asks the table, if the table
// has no more than so many starts.
func Touched(f *File, key format.Key, starts int) (record int, ok bool) {
	if t := f.ranks.Load(); t != nil {
		few := *t
		few.findStarts(starts)
		x, ok := few.position(key)
		return few.about(x), ok
	}
	return 0, false
}

// Warm touches every page of a mapping.
func Warm(ctx context.Context, f *File) error { return f.warm(ctx) }

// ReopenError is what becomes of an error from a path in /proc.
func ReopenError(err error) error { return reopenError(err) }
