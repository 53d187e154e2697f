//go:build cgo

package peer_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"promostore/bench/peer"
	"promostore/internal/synth"
)

// TestDuckDB is that the Parquet file has the rows of the CSV, sorted.
func TestDuckDB(t *testing.T) {
	for kind := synth.KeysV4; kind <= synth.KeysSamePrefix; kind++ {
		text, csv := newCSV(t, kind, 3000)
		path := filepath.Join(t.TempDir(), "sorted.parquet")
		if err := peer.DuckDB.Build(t.Context(), csv, path); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("duckdb", "")
		if err != nil {
			t.Fatal(err)
		}
		defer closing(t, db)
		rows, err := db.QueryContext(t.Context(), "SELECT id::VARCHAR, price::VARCHAR, expiration_date FROM read_parquet('"+path+"')")
		if err != nil {
			t.Fatal(err)
		}
		defer closing(t, rows)
		var got []string
		for rows.Next() {
			var id, price, date string
			if err := rows.Scan(&id, &price, &date); err != nil {
				t.Fatal(err)
			}
			got = append(got, id+","+price+","+date+"\n")
		}
		if want := sortedLines(text); rows.Err() != nil || strings.Join(got, "") != strings.Join(want, "") {
			t.Errorf("%v: %d rows, %v; want %d", kind, len(got), rows.Err(), len(want))
		}
	}
}
