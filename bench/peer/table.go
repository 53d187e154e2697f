package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"promostore/format"
)

// A Table is a promotions CSV in memory, as promobuild generate makes it, in
// the order of its ids. Immutable.
type Table struct {
	text []byte
	rows []row
}

// A row is where a row's fields behind the id are in the text.
type row struct {
	key format.Key
	off int64
	len int32
}

// ReadTable reads and sorts the CSV with this path. It is quick about it, with
// all processors, since what it takes counts as time of the peer.
func ReadTable(ctx context.Context, path string) (*Table, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t := &Table{text: text}
	workers := runtime.GOMAXPROCS(0)
	parts := make([][]row, workers)
	var g errgroup.Group
	for i := range parts {
		g.Go(func() (err error) {
			parts[i], err = t.parse(t.lineAt(i, workers), t.lineAt(i+1, workers))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	// Ids of most kinds are even in their first byte, so that the parts behind
	// it can be sorted at the same time.
	var ends [256]int
	for _, part := range parts {
		for i := range part {
			ends[part[i].key.Hi>>56]++
		}
	}
	total := 0
	for i, n := range ends {
		ends[i], total = total, total+n
	}
	t.rows = make([]row, total)
	for i, part := range parts {
		for _, r := range part {
			b := r.key.Hi >> 56
			t.rows[ends[b]] = r
			ends[b]++
		}
		parts[i] = nil
	}
	g.SetLimit(workers)
	lo := 0
	for _, hi := range ends {
		bucket := t.rows[lo:hi]
		g.Go(func() error {
			slices.SortFunc(bucket, func(a, b row) int { return a.key.Compare(b.key) })
			return ctx.Err()
		})
		lo = hi
	}
	return t, g.Wait()
}

// lineAt is the offset of the first row that begins in the part i of n.
func (t *Table) lineAt(i, n int) int {
	if i == 0 {
		return 0
	}
	off := len(t.text) / n * i
	if end := bytes.IndexByte(t.text[off:], '\n'); end >= 0 && i < n {
		return off + end + 1
	}
	return len(t.text)
}

var errRow = errors.New("no id and a comma in front of price and date")

func (t *Table) parse(lo, hi int) ([]row, error) {
	const shortest = format.TextLen + len(",0.000000,2018-06-04 06:01:20 +0200 CET\n")
	rows := make([]row, 0, (hi-lo)/shortest+1)
	for lo < hi {
		n := bytes.IndexByte(t.text[lo:], '\n')
		if n < 0 {
			n = len(t.text) - lo
		}
		line := t.text[lo : lo+n]
		if len(line) < format.TextLen+1 || line[format.TextLen] != ',' {
			return nil, fmt.Errorf("row at byte %d: %w", lo, errRow)
		}
		key, _, err := format.ParseKey(line[:format.TextLen])
		if err != nil {
			return nil, fmt.Errorf("row at byte %d: %w", lo, err)
		}
		rows = append(rows, row{key, int64(lo + format.TextLen + 1), int32(n - format.TextLen - 1)})
		lo += n + 1
	}
	return rows, nil
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// All is the rows in the order of their ids: the 16 bytes of the id, and price
// and date as they were written, with the comma between them. The id is valid
// until the next one, the text as long as t.
func (t *Table) All() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		var id [format.KeyLen]byte
		for i := range t.rows {
			r := &t.rows[i]
			PutKey(&id, r.key)
			if !yield(id[:], t.text[r.off:r.off+int64(r.len)]) {
				return
			}
		}
	}
}
