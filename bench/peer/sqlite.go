package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	_ "github.com/mattn/go-sqlite3" // the driver

	"promostore/format"
	"promostore/internal/sysmem"
)

// openSQL opens a file with settings for its connections, each of which is used
// by one goroutine at a time. The cache is an eighth of the memory.
func openSQL(path, settings string) (*sql.DB, error) {
	return sql.Open("sqlite3", fmt.Sprintf("file:%s?_mutex=no&_cache_size=-%d&%s",
		(&url.URL{Path: path}).EscapedPath(), sysmem.Total()/8>>10, settings))
}

// buildSQLite inserts all rows in one transaction, without a journal, with one
// sync at the end.
func buildSQLite(ctx context.Context, csv, path string) (err error) {
	t, err := readDataSet(ctx, csv)
	if err != nil {
		return err
	}
	db, err := openSQL(path, "_journal_mode=OFF&_synchronous=OFF&_locking_mode=EXCLUSIVE")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	if err := errors.Join(insertAll(ctx, db, t), db.Close()); err != nil {
		return err
	}
	return syncFile(path)
}

func insertAll(ctx context.Context, db *sql.DB, t *dataSet) error {
	if _, err := db.ExecContext(ctx, "CREATE TABLE promotions (id BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"); err != nil {
		return err
	}
	// A context that can end would cost a goroutine a row.
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	insert, err := tx.Prepare("INSERT INTO promotions VALUES (?, ?)")
	for id, value := range t.all() {
		if err != nil {
			break
		}
		_, err = insert.Exec(id, string(value))
	}
	if err = errors.Join(err, ctx.Err()); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// openSQLite opens a store whose readers have a connection, a mapping of the
// file and a prepared SELECT each.
func openSQLite(path string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	db, err := openSQL(path, "mode=ro&immutable=1")
	if err != nil {
		return nil, err
	}
	reader := func() (Get, func() error, error) {
		ctx := context.Background()
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, nil, err
		}
		// The size is larger than any file; the library has its own limit.
		_, err = conn.ExecContext(ctx, "PRAGMA mmap_size = 1099511627776")
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
		query, err := conn.PrepareContext(ctx, "SELECT value FROM promotions WHERE id = ?")
		if err != nil {
			return nil, nil, errors.Join(err, conn.Close())
		}
		closeReader := func() error { return errors.Join(query.Close(), conn.Close()) }
		return func(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) { return getSQLite(query, id, dst) }, closeReader, nil
	}
	return &Store{reader, db.Close}, nil
}

func getSQLite(query *sql.Stmt, id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
	rows, err := query.Query(id[:])
	if err != nil {
		return dst, false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return dst, false, rows.Err()
	}
	var v sql.RawBytes
	if err := rows.Scan(&v); err != nil {
		return dst, false, err
	}
	return append(dst, v...), true, rows.Close()
}
