package peer_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/bench/peer"
	"promostore/format"
	"promostore/internal/synth"
)

// TestMariaDB loads a table twice, and looks ids up. It needs Debian's
// mariadb-server.
func TestMariaDB(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mariadb")
	m, err := peer.StartMariaDB(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		closing(t, m)
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			t.Errorf("files are left: %v", err)
		}
	}()
	if setup, err := m.Setup(t.Context()); err != nil || !strings.Contains(setup, "MariaDB") {
		t.Errorf("%q, %v", setup, err)
	}
	for _, rows := range []int64{10, 3000} {
		text, csv := newCSV(t, synth.KeysV4, rows)
		if err := m.Load(t.Context(), csv, "test"); err != nil {
			t.Fatal(err)
		}
		query, err := m.DB.PrepareContext(t.Context(), "SELECT price, expiration_date FROM test WHERE id = ?")
		if err != nil {
			t.Fatal(err)
		}
		defer closing(t, query)
		for line := range bytes.Lines(text) {
			id, want := string(line[:format.TextLen]), strings.TrimSuffix(string(line[format.TextLen+1:]), "\n")
			var price, date string
			if err := query.QueryRowContext(t.Context(), id).Scan(&price, &date); err != nil || price+","+date != want {
				t.Fatalf("%s: %s,%s, %v; want %s", id, price, date, err, want)
			}
		}
		var n int64
		if err := m.DB.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM test").Scan(&n); err != nil || n != rows {
			t.Errorf("%d rows, %v; want %d", n, err, rows)
		}
		if n, err := m.TableBytes("test"); err != nil || n < rows*16 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
}
