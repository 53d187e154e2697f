package peer

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/internal/synth"
)

// newCSV returns a CSV of n rows with IDs of kind k, and its path.
func newCSV(t *testing.T, k synth.Kind, n int64) (text, path string) {
	t.Helper()
	var b bytes.Buffer
	if _, err := (synth.DataSet{Keys: synth.Keys{Kind: k}, Rows: n}).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "promotions.csv")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return b.String(), path
}

// sorted returns the lines of text in the order of their bytes.
func sorted(text string) string {
	return strings.Join(slices.Sorted(strings.Lines(text)), "")
}

func closing(t *testing.T, closeIt func() error) {
	t.Helper()
	if err := closeIt(); err != nil {
		t.Error(err)
	}
}

func TestStores(t *testing.T) {
	const rows = 3000
	for _, p := range All {
		if p.Open == nil {
			continue
		}
		for kind := synth.KeysV4; kind <= synth.KeysSamePrefix; kind++ {
			t.Run(p.Name+"/"+kind.String(), func(t *testing.T) {
				text, csv := newCSV(t, kind, rows)
				path := filepath.Join(t.TempDir(), "store")
				if err := p.Build(t.Context(), csv, path); err != nil {
					t.Fatal(err)
				}
				store, err := p.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer closing(t, store.Close)
				get, closeReader, err := store.Reader()
				if err != nil {
					t.Fatal(err)
				}
				defer closing(t, closeReader)
				var id [format.KeyLen]byte
				for line := range strings.Lines(text) {
					key, _, err := format.ParseKey([]byte(line[:format.TextLen]))
					if err != nil {
						t.Fatal(err)
					}
					PutKey(&id, key)
					want := ">" + strings.TrimSuffix(line[format.TextLen+1:], "\n")
					if v, found, err := get(&id, []byte(">")); err != nil || !found || string(v) != want {
						t.Fatalf("%s: %q, %v, %v; want %q", key, v, found, err, want)
					}
				}
				for i := range uint64(100) {
					PutKey(&id, synth.Keys{Kind: kind}.At(rows+i))
					if v, found, err := get(&id, nil); err != nil || found || len(v) > 0 {
						t.Fatalf("absent ID: %q, %v, %v", v, found, err)
					}
				}
			})
		}
		if _, err := p.Open(filepath.Join(t.TempDir(), "none")); err == nil {
			t.Errorf("%s: opens a missing store", p.Name)
		}
	}
}

func TestBuildCanceled(t *testing.T) {
	_, csv := newCSV(t, synth.KeysV4, 100)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, p := range All {
		if err := p.Build(ctx, csv, filepath.Join(t.TempDir(), "store")); err == nil {
			t.Errorf("%s: no error", p.Name)
		}
	}
}

func TestDuckDB(t *testing.T) {
	text, csv := newCSV(t, synth.KeysV4, 3000)
	path := filepath.Join(t.TempDir(), "sorted.parquet")
	if err := buildDuckDB(t.Context(), csv, path); err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, db.Close)
	rows, err := db.QueryContext(t.Context(), "SELECT id::VARCHAR, price::VARCHAR, expiration_date FROM read_parquet("+quote(path)+")")
	if err != nil {
		t.Fatal(err)
	}
	defer closing(t, rows.Close)
	var got strings.Builder
	for rows.Next() {
		var id, price, date string
		if err := rows.Scan(&id, &price, &date); err != nil {
			t.Fatal(err)
		}
		got.WriteString(id + "," + price + "," + date + "\n")
	}
	if rows.Err() != nil || got.String() != sorted(text) {
		t.Errorf("wrong rows, %v", rows.Err())
	}
}

// TestReadDataSet reads files of few rows, one of them without a line end.
func TestReadDataSet(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 1000} {
		text, csv := newCSV(t, synth.KeysV4, n)
		if n == 2 {
			if err := os.WriteFile(csv, []byte(text[:len(text)-1]), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		set, err := readDataSet(t.Context(), csv)
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for id, value := range set.all() {
			got.WriteString(format.KeyAt(id).String() + "," + string(value) + "\n")
		}
		if got.String() != sorted(text) || int64(set.len) != n {
			t.Errorf("%d rows: %q", n, got.String())
		}
	}
	if _, err := readDataSet(t.Context(), os.DevNull+"/none"); err == nil {
		t.Error("a missing file is read")
	}
}

func TestSort(t *testing.T) {
	text, csv := newCSV(t, synth.KeysV4, 5000)
	out := filepath.Join(t.TempDir(), "sorted")
	if err := Sort(t.Context(), csv, out, 64<<20); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(out); err != nil || string(got) != sorted(text) {
		t.Errorf("wrong rows, %v", err)
	}
	if err := Sort(t.Context(), csv+".none", out, 64<<20); err == nil {
		t.Error("a missing file is sorted")
	}
	if _, err := LookPath("no-such-program"); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("missing program: %v", err)
	}
}

// TestMariaDB loads a table twice. It needs mariadb-server.
func TestMariaDB(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mariadb")
	m, err := StartMariaDB(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		closing(t, m.Close)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("files are left: %v", err)
		}
	}()
	for _, rows := range []int64{10, 3000} {
		text, csv := newCSV(t, synth.KeysV4, rows)
		if err := m.Load(t.Context(), csv, "test"); err != nil {
			t.Fatal(err)
		}
		query, err := m.DB.PrepareContext(t.Context(), "SELECT price, expiration_date FROM test WHERE id = ?")
		if err != nil {
			t.Fatal(err)
		}
		defer closing(t, query.Close)
		for line := range strings.Lines(text) {
			id, want := line[:format.TextLen], strings.TrimSuffix(line[format.TextLen+1:], "\n")
			var price, date string
			if err := query.QueryRowContext(t.Context(), id).Scan(&price, &date); err != nil || price+","+date != want {
				t.Fatalf("%s: %s,%s, %v; want %s", id, price, date, err, want)
			}
		}
		if n, err := m.TableBytes("test"); err != nil || n < rows*16 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
