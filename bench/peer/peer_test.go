package peer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"promostore/bench/peer"
	"promostore/format"
	"promostore/internal/synth"
)

// newCSV is a table of n rows with ids of kind k, and its path.
func newCSV(t testing.TB, k synth.Kind, n int64) (text []byte, path string) {
	t.Helper()
	var b bytes.Buffer
	if _, err := (synth.Table{Keys: synth.Keys{Kind: k}, Rows: n}).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "promotions.csv")
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), path
}

// TestStores builds a store with each library, and looks all its ids up, and
// others.
func TestStores(t *testing.T) {
	const rows = 3000
	for _, p := range peer.All() {
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
				defer closing(t, store)
				reader, err := store.Reader()
				if err != nil {
					t.Fatal(err)
				}
				defer closing(t, reader)
				var id [format.KeyLen]byte
				for line := range bytes.Lines(text) {
					key, _, err := format.ParseKey(line[:format.TextLen])
					if err != nil {
						t.Fatal(err)
					}
					peer.PutKey(&id, key)
					want := ">" + strings.TrimSuffix(string(line[format.TextLen+1:]), "\n")
					if v, found, err := reader.Get(&id, []byte(">")); err != nil || !found || string(v) != want {
						t.Fatalf("%s: %q, %v, %v; want %q", key, v, found, err, want)
					}
				}
				for i := range uint64(100) {
					peer.PutKey(&id, synth.Keys{Kind: kind}.At(rows+i))
					if v, found, err := reader.Get(&id, nil); err != nil || found || len(v) > 0 {
						t.Fatalf("id that is not there: %q, %v, %v", v, found, err)
					}
				}
			})
		}
	}
}

func closing(t *testing.T, c interface{ Close() error }) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// TestReadTable holds the order of a table against that of GNU sort's rule.
func TestReadTable(t *testing.T) {
	for _, n := range []int64{0, 1, 2, 1000} {
		text, csv := newCSV(t, synth.KeysV4, n)
		if n == 2 { // no line end at the end
			if err := os.WriteFile(csv, text[:len(text)-1], 0o644); err != nil {
				t.Fatal(err)
			}
		}
		table, err := peer.ReadTable(t.Context(), csv)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for id, value := range table.All() {
			got = append(got, format.KeyAt(id).String()+","+string(value)+"\n")
		}
		if want := sortedLines(text); strings.Join(got, "") != strings.Join(want, "") || table.Len() != len(want) {
			t.Errorf("%d rows: %q, want %q", n, got, want)
		}
	}
	if _, err := peer.ReadTable(t.Context(), os.DevNull+"/none"); err == nil {
		t.Error("a file that is not there is read")
	}
}

// TestStop is that a build which is told to stop leaves with the error.
func TestStop(t *testing.T) {
	_, csv := newCSV(t, synth.KeysV4, 100)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, p := range peer.All() {
		if err := p.Build(ctx, csv, filepath.Join(t.TempDir(), "store")); err == nil {
			t.Errorf("%s was built after all", p.Name)
		}
	}
}

// TestVersions is that what people read of a peer names its version: that of
// the library, not of the binding.
func TestVersions(t *testing.T) {
	const module = `(v\d+\.\d+\.\d+|version unknown): ` // a test does not know its modules
	library := map[string]string{
		"bbolt": `^` + module, "Pebble": `^` + module, "Badger": `^` + module,
		"LMDB":   `^0\.9\.\d+, through github.com/PowerDNS/lmdb-go ` + module,
		"SQLite": `^3\.\d+\.\d+, through github.com/mattn/go-sqlite3 ` + module,
		"DuckDB": `^v1\.\d+\.\d+, through github.com/duckdb/duckdb-go/v2 ` + module,
	}
	for _, p := range peer.All() {
		want := library[p.Name]
		if got, err := p.Describe(t.Context()); err != nil || want == "" || !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %s, %v; want %s", p.Name, got, err, want)
		}
	}
	if _, err := peer.LookPath("no-such-program", "none"); !errors.Is(err, peer.ErrNotInstalled) {
		t.Errorf("a program that is not there: %v", err)
	}
	if _, found := peer.Find("none"); found {
		t.Error("a peer that is not there is found")
	}
}
