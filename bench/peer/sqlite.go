package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "modernc.org/sqlite" // the driver

	"promostore/format"
	"promostore/sysmem"
)

// SQLite is a B-tree with SQL.
var SQLite = Peer{
	Name:   "SQLite",
	Module: "modernc.org/sqlite",
	Setup: "ids sorted in memory; WITHOUT ROWID, one transaction, one prepared INSERT, journal_mode OFF, synchronous OFF, " +
		"locking_mode EXCLUSIVE, a sync at the end; read with a prepared SELECT, immutable=1, mmap_size of the file, a cache of an eighth of the memory",
	Build: buildSQLite,
	Open:  openSQLite,
}

// openSQL opens the file with settings of a connection.
func openSQL(path, query string, pragmas ...string) (*sql.DB, error) {
	pragmas = append(pragmas, fmt.Sprintf("cache_size(-%d)", sysmem.Total()/8>>10))
	for _, p := range pragmas {
		query += "&_pragma=" + url.QueryEscape(p)
	}
	return sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?"+query)
}

func buildSQLite(ctx context.Context, csv, path string) (err error) {
	t, err := ReadTable(ctx, csv)
	if err != nil {
		return err
	}
	db, err := openSQL(path, "", "journal_mode(OFF)", "synchronous(OFF)", "locking_mode(EXCLUSIVE)")
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
	db, err := openSQL(path, "mode=ro&immutable=1", "mmap_size(1099511627776)")
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
	q, err := s.db.Prepare("SELECT value FROM promotions WHERE id = ?")
	if err != nil {
		return nil, err
	}
	return sqliteReader{q}, nil
}

type sqliteReader struct{ query *sql.Stmt }

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

func (r sqliteReader) Close() error { return r.query.Close() }
