//go:build cgo

package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "github.com/mattn/go-sqlite3" // the driver

	"promostore/format"
	"promostore/internal/sysmem"
)

// SQLite is a B-tree with SQL.
var SQLite = Peer{
	Name:   "SQLite",
	Module: "github.com/mattn/go-sqlite3",
	Setup: "ids sorted in memory; WITHOUT ROWID, one transaction, one prepared INSERT, journal_mode OFF, synchronous OFF, " +
		"locking_mode EXCLUSIVE, a sync at the end; read through database/sql with a connection and a prepared SELECT a reader, " +
		"immutable=1, mmap_size of the file, a cache of an eighth of the memory, no mutex",
	engine: sqliteVersion,
	Build:  buildSQLite,
	Open:   openSQLite,
}

// openSQL opens the file with settings of its connections, each of which is
// used by one goroutine at a time.
func openSQL(path, query string) (*sql.DB, error) {
	return sql.Open("sqlite3", fmt.Sprintf("file:%s?_mutex=no&_cache_size=-%d&%s",
		(&url.URL{Path: path}).EscapedPath(), sysmem.Total()/8>>10, query))
}

func sqliteVersion(ctx context.Context) (version string, err error) {
	db, err := sql.Open("sqlite3", ":memory:")
	if err != nil {
		return "", err
	}
	err = db.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&version)
	return version, errors.Join(err, db.Close())
}

func buildSQLite(ctx context.Context, csv, path string) (err error) {
	t, err := ReadTable(ctx, csv)
	if err != nil {
		return err
	}
	db, err := openSQL(path, "_journal_mode=OFF&_synchronous=OFF&_locking_mode=EXCLUSIVE")
	if err != nil {
		return err
	}
	if err := errors.Join(insertAll(ctx, db, t), db.Close()); err != nil {
		return err
	}
	return syncFile(path)
}

func insertAll(ctx context.Context, db *sql.DB, t *Table) (err error) {
	db.SetMaxOpenConns(1)
	if _, err := db.ExecContext(ctx, "CREATE TABLE promotions (id BLOB PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"); err != nil {
		return err
	}
	// A context that could end would cost a goroutine a row.
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	defer func() {
		if rollback := tx.Rollback(); !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, rollback)
		}
	}()
	insert, err := tx.Prepare("INSERT INTO promotions VALUES (?, ?)")
	if err != nil {
		return err
	}
	defer insert.Close()
	n := 0
	for id, value := range t.All() {
		if _, err := insert.Exec(id, string(value)); err != nil {
			return err
		}
		if n++; n%100_000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return tx.Commit()
}

type sqliteStore struct{ db *sql.DB }

func openSQLite(path string) (Store, error) {
	db, err := openSQL(path, "mode=ro&immutable=1")
	if err != nil {
		return nil, err
	}
	if err := db.Ping(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return sqliteStore{db}, nil
}

func (s sqliteStore) Close() error { return s.db.Close() }

func (s sqliteStore) Reader() (Reader, error) {
	ctx := context.Background()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	// More than any file: the library takes as much as it was built for.
	if _, err := conn.ExecContext(ctx, "PRAGMA mmap_size = 1099511627776"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	q, err := conn.PrepareContext(ctx, "SELECT value FROM promotions WHERE id = ?")
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return sqliteReader{conn, q}, nil
}

type sqliteReader struct {
	conn  *sql.Conn
	query *sql.Stmt
}

func (r sqliteReader) Get(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
	var v sql.RawBytes
	rows, err := r.query.Query(id[:])
	if err != nil {
		return dst, false, err
	}
	defer rows.Close()
	if !rows.Next() {
		return dst, false, rows.Err()
	}
	if err := rows.Scan(&v); err != nil {
		return dst, false, err
	}
	return append(dst, v...), true, rows.Close()
}

func (r sqliteReader) Close() error { return errors.Join(r.query.Close(), r.conn.Close()) }
