//go:build cgo

package peer

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/PowerDNS/lmdb-go/lmdb"

	"promostore/format"
)

// LMDB is a B+ tree in a mapped file, in C.
var LMDB = Peer{
	Name:   "LMDB",
	Module: "github.com/PowerDNS/lmdb-go",
	Setup: "ids sorted in memory; MDB_APPEND in one transaction, MDB_NOSYNC, MDB_WRITEMAP, one sync at the end; " +
		"read-only with MDB_NORDAHEAD and one long transaction a reader, values not copied by the binding",
	engine: lmdbVersion,
	Build:  buildLMDB,
	Open:   openLMDB,
}

func lmdbVersion(context.Context) (string, error) {
	major, minor, patch, _ := lmdb.Version()
	return fmt.Sprintf("%d.%d.%d", major, minor, patch), nil
}

// lmdbRow is more bytes of the mapping than a row takes: 16 of id, some 40 of
// value, 10 of node and a share of the pages above.
const lmdbRow = 128

func newLMDB(path string, size int64, flags uint) (env *lmdb.Env, err error) {
	if env, err = lmdb.NewEnv(); err != nil {
		return nil, err
	}
	if err := errors.Join(env.SetMapSize(size), env.Open(path, flags|lmdb.NoSubdir, 0o644)); err != nil {
		return nil, errors.Join(err, env.Close())
	}
	return env, nil
}

func buildLMDB(ctx context.Context, csv, path string) (err error) {
	t, err := ReadTable(ctx, csv)
	if err != nil {
		return err
	}
	env, err := newLMDB(path, int64(t.Len())*lmdbRow+1<<20, lmdb.NoSync|lmdb.WriteMap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	err = env.Update(func(tx *lmdb.Txn) error {
		db, err := tx.OpenRoot(0)
		if err != nil {
			return err
		}
		for id, value := range t.All() {
			if err := tx.Put(db, id, value, lmdb.Append); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return errors.Join(err, env.Sync(true))
}

type lmdbStore struct{ env *lmdb.Env }

func openLMDB(path string) (Store, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	env, err := newLMDB(path, info.Size(), lmdb.Readonly|lmdb.NoReadahead|lmdb.NoLock)
	if err != nil {
		return nil, err
	}
	return lmdbStore{env}, nil
}

func (s lmdbStore) Close() error { return s.env.Close() }

func (s lmdbStore) Reader() (Reader, error) {
	tx, err := s.env.BeginTxn(nil, lmdb.Readonly)
	if err != nil {
		return nil, err
	}
	db, err := tx.OpenRoot(0)
	if err != nil {
		tx.Abort()
		return nil, err
	}
	tx.RawRead = true
	return lmdbReader{tx, db}, nil
}

type lmdbReader struct {
	tx *lmdb.Txn
	db lmdb.DBI
}

func (r lmdbReader) Get(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
	v, err := r.tx.Get(r.db, id[:])
	if lmdb.IsNotFound(err) {
		return dst, false, nil
	}
	return append(dst, v...), err == nil, err
}

func (r lmdbReader) Close() error {
	r.tx.Abort()
	return nil
}
