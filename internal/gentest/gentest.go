// Package gentest writes and damages generation files for the tests of other
// packages. It does not use package builder, so that a reader is tested against
// files of independent origin.
package gentest

import (
	"bytes"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"

	"promostore/format"
	"promostore/format/generation"
)

// T is the part of testing.TB that *rapid.T has too.
type T interface {
	Helper()
	Fatal(args ...any)
}

// Must fails the test if err is not nil.
func Must(t T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Path returns the path of the only file of generation id in dir.
func Path(dir string, id generation.ID) string {
	return filepath.Join(dir, generation.Name{ID: id, Shards: 1}.String())
}

// Publish writes generation id into dir and returns the path of its file. The
// records must be in the order of their ids. Without styles, the dictionary
// holds the plain wall clock.
func Publish(t T, dir string, id generation.ID, records []format.Record, styles ...format.TimestampStyle) string {
	t.Helper()
	path := Path(dir, id)
	Write(t, path, id, records, styles...)
	return path
}

// PublishSharded is like Publish, for a generation that is divided according to
// s. It returns the paths of its files by shard.
func PublishSharded(t T, dir string, id generation.ID, s format.Sharding, records []format.Record, styles ...format.TimestampStyle) []string {
	t.Helper()
	shards := make([][]format.Record, s.Shards)
	for _, r := range records {
		shard := s.ShardOf(r.Key())
		shards[shard] = append(shards[shard], r)
	}
	paths := make([]string, s.Shards)
	for shard, records := range shards {
		paths[shard] = filepath.Join(dir, generation.Name{ID: id, Shard: shard, Shards: int(s.Shards)}.String())
		h := format.Header{Sharding: s, Shard: uint32(shard), Generation: int64(id)}
		write(t, paths[shard], h, len(records), slices.Values(records), styles)
	}
	return paths
}

// PublishRows is like Publish, for rows in any order.
func PublishRows(t T, dir string, id generation.ID, rows ...Row) string {
	t.Helper()
	records, styles := Records(t, rows...)
	return Publish(t, dir, id, records, styles...)
}

// Write writes a file at path, whose header names generation id. The path may
// have any name. The file appears there complete, by a rename.
func Write(t T, path string, id generation.ID, records []format.Record, styles ...format.TimestampStyle) {
	t.Helper()
	WriteSeq(t, path, id, len(records), slices.Values(records), styles...)
}

// WriteSeq is like Write, for n records that need not be in memory at once.
func WriteSeq(t T, path string, id generation.ID, n int, records iter.Seq[format.Record], styles ...format.TimestampStyle) {
	t.Helper()
	write(t, path, format.Header{Sharding: format.Unsharded, Generation: int64(id)}, n, records, styles)
}

// write writes a file with n records. Of h it uses what format.Writer.Finish uses.
func write(t T, path string, h format.Header, n int, records iter.Seq[format.Record], styles []format.TimestampStyle) {
	t.Helper()
	if len(styles) == 0 {
		styles = []format.TimestampStyle{{Layout: format.LayoutWall}}
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".test-*")
	Must(t, err)
	defer f.Close()
	w := format.NewWriter(f, uint64(n))
	batch := make([]format.Record, 0, min(n, 1<<16))
	flush := func() {
		b, err := w.Reserve(batch)
		Must(t, err)
		Must(t, b.Write())
		batch = batch[:0]
	}
	for r := range records {
		if batch = append(batch, r); len(batch) == cap(batch) {
			flush()
		}
	}
	flush()
	h, err = w.Finish(h, styles)
	Must(t, err)
	Must(t, errors.Join(f.Truncate(h.FileLen), f.Chmod(0o644)))
	Must(t, os.Rename(f.Name(), path))
}

// Sequence returns n records with the ids 0 to n-1.
func Sequence(n int) []format.Record {
	records := make([]format.Record, n)
	for i := range records {
		records[i] = format.MakeRecord(format.Key{Lo: uint64(i)}, false, format.Price{Digits: 1}, 0, 0)
	}
	return records
}

// Scattered returns n records whose ids are spread evenly over all values of
// their first digits, and of their last.
func Scattered(n int) []format.Record {
	records := make([]format.Record, n)
	for i := range records {
		// The multiplier is 2^64 divided by the golden ratio.
		key := format.Key{Hi: uint64(i) * 0x9E3779B97F4A7C15, Lo: uint64(i)}
		records[i] = format.MakeRecord(key, false, format.Price{Digits: 1}, 0, 0)
	}
	slices.SortFunc(records, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
	return records
}

// A Row is a row of a CSV of promotions.
type Row struct{ ID, Price, Date string }

// Records parses rows, and returns the records in the order of their ids with
// their dictionary of timestamp styles.
func Records(t T, rows ...Row) (records []format.Record, styles []format.TimestampStyle) {
	t.Helper()
	for i := range rows {
		_, style := parse(t, rows[i])
		if !slices.Contains(styles, style) {
			styles = append(styles, style)
		}
	}
	slices.SortFunc(styles, func(a, b format.TimestampStyle) int {
		return bytes.Compare(a.AppendBinary(nil), b.AppendBinary(nil))
	})
	for i := range rows {
		r, style := parse(t, rows[i])
		r.SetStyle(uint16(slices.Index(styles, style)))
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b format.Record) int { return a.Key().Compare(b.Key()) })
	return records, styles
}

func parse(t T, row Row) (format.Record, format.TimestampStyle) {
	t.Helper()
	key, upper, err := format.ParseKey([]byte(row.ID))
	Must(t, err)
	price, err := format.ParsePrice([]byte(row.Price))
	Must(t, err)
	seconds, sep, rest, err := format.ParseDate([]byte(row.Date))
	Must(t, err)
	style, err := format.ParseTimestampStyle(sep, rest)
	Must(t, err)
	return format.MakeRecord(key, upper, price, seconds, 0), style
}

// Overwrite replaces the bytes at off of the file at path, in place.
func Overwrite(t T, path string, off int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	Must(t, err)
	_, err = f.WriteAt(b, off)
	Must(t, errors.Join(err, f.Close()))
}

// Flip inverts the byte at off of the file at path, in place. A negative off
// counts from the end of the file.
func Flip(t T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	Must(t, err)
	defer f.Close()
	if off < 0 {
		info, err := f.Stat()
		Must(t, err)
		off += info.Size()
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	Must(t, err)
	b[0] = ^b[0]
	_, err = f.WriteAt(b[:], off)
	Must(t, err)
}
