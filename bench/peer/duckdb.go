package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"

	_ "github.com/duckdb/duckdb-go/v2" // the driver

	"promostore/internal/sysmem"
)

// buildDuckDB sorts the CSV into a Parquet file. The types are the fastest that
// lose nothing of a data set whose prices all have six decimals: 1.9 s for 5 M
// rows, against 2.2 s with prices as text and 2.5 s with IDs as text.
func buildDuckDB(ctx context.Context, csv, path string) (err error) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	for _, s := range []string{
		fmt.Sprintf("SET threads = %d", runtime.GOMAXPROCS(0)),
		fmt.Sprintf("SET memory_limit = '%dMiB'", sysmem.Total()/4>>20), // like promobuild
		"SET temp_directory = " + quote(path+".tmp"),
		fmt.Sprintf("COPY (SELECT * FROM read_csv(%s, header = false, auto_detect = false, delim = ',', "+
			"columns = {'id': 'UUID', 'price': 'DECIMAL(9,6)', 'expiration_date': 'VARCHAR'}) ORDER BY id) TO %s (FORMAT parquet)",
			quote(csv), quote(path)),
	} {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}
