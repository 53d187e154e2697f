package peer

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// A dataSet is a CSV of promotions in memory, in the order of its IDs. The CSV
// must look like the output of promobuild generate.
type dataSet struct {
	text    []byte
	buckets [256][]row // by the first byte of the ID
	len     int
}

// A row is the ID of a row, and the range of the text with price and date.
type row struct {
	key format.Key
	off int64
	len int32
}

// readDataSet reads and sorts a CSV. It uses all processors, because its time is
// part of the time of the peers.
func readDataSet(ctx context.Context, csv string) (*dataSet, error) {
	text, err := os.ReadFile(csv)
	if err != nil {
		return nil, err
	}
	t := &dataSet{text: text}
	parts := make([][256][]row, runtime.GOMAXPROCS(0))
	var g errgroup.Group
	g.SetLimit(len(parts))
	for i := range parts {
		g.Go(func() error { return t.parse(t.lineAt(i, len(parts)), t.lineAt(i+1, len(parts)), &parts[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for b := range t.buckets {
		for i := range parts {
			t.len += len(parts[i][b])
		}
		g.Go(func() error {
			rows := parts[0][b]
			for i := range parts[1:] {
				rows = append(rows, parts[i+1][b]...)
			}
			slices.SortFunc(rows, func(a, b row) int { return a.key.Compare(b.key) })
			t.buckets[b] = rows
			return ctx.Err()
		})
	}
	return t, g.Wait()
}

// lineAt returns the offset of the first row that begins in part i of n.
func (t *dataSet) lineAt(i, n int) int {
	if i == 0 {
		return 0
	}
	off := len(t.text) / n * i
	if end := bytes.IndexByte(t.text[off:], '\n'); end >= 0 && i < n {
		return off + end + 1
	}
	return len(t.text)
}

func (t *dataSet) parse(lo, hi int, buckets *[256][]row) error {
	for lo < hi {
		n := bytes.IndexByte(t.text[lo:], '\n')
		if n < 0 {
			n = len(t.text) - lo
		}
		line := t.text[lo : lo+n]
		if len(line) < format.TextLen+1 || line[format.TextLen] != ',' {
			return fmt.Errorf("row at byte %d: no ID and a comma", lo)
		}
		key, _, err := format.ParseKey(line[:format.TextLen])
		if err != nil {
			return fmt.Errorf("row at byte %d: %w", lo, err)
		}
		b := &buckets[key.Hi>>56]
		*b = append(*b, row{key, int64(lo + format.TextLen + 1), int32(n - format.TextLen - 1)})
		lo += n + 1
	}
	return nil
}

// all returns the rows in the order of their IDs: the 16 bytes of the ID, and
// price and date as they are in the CSV. The ID is valid until the next row.
func (t *dataSet) all() iter.Seq2[[]byte, []byte] { return t.part(0, len(t.buckets)) }

// part returns the rows of the buckets from lo to hi.
func (t *dataSet) part(lo, hi int) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		var id [format.KeyLen]byte
		for _, rows := range t.buckets[lo:hi] {
			for _, r := range rows {
				PutKey(&id, r.key)
				if !yield(id[:], t.text[r.off:r.off+int64(r.len)]) {
					return
				}
			}
		}
	}
}
