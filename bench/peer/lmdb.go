package peer

import (
	"context"
	"errors"
	"os"

	"github.com/PowerDNS/lmdb-go/lmdb"

	"promostore/format"
)

// lmdbRow is more bytes of the mapping than a row needs: 16 of ID, some 40 of
// value, 10 of node and a share of the upper pages.
const lmdbRow = 128

func newLMDB(path string, size int64, flags uint) (*lmdb.Env, error) {
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(env.SetMapSize(size), env.Open(path, flags|lmdb.NoSubdir, 0o644)); err != nil {
		return nil, errors.Join(err, env.Close())
	}
	return env, nil
}

// buildLMDB appends all rows in one transaction, with one sync at the end.
func buildLMDB(ctx context.Context, csv, path string) (err error) {
	t, err := readDataSet(ctx, csv)
	if err != nil {
		return err
	}
	env, err := newLMDB(path, int64(t.len)*lmdbRow+1<<20, lmdb.NoSync|lmdb.WriteMap)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, env.Close()) }()
	err = env.Update(func(tx *lmdb.Txn) error {
		db, err := tx.OpenRoot(0)
		if err != nil {
			return err
		}
		for id, value := range t.all() {
			if err := tx.Put(db, id, value, lmdb.Append); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
	return errors.Join(err, env.Sync(true))
}

// openLMDB opens a store whose readers have one long transaction each, and do
// not copy values.
func openLMDB(path string) (*Store, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	env, err := newLMDB(path, info.Size(), lmdb.Readonly|lmdb.NoReadahead|lmdb.NoLock)
	if err != nil {
		return nil, err
	}
	reader := func() (Get, func() error, error) {
		tx, err := env.BeginTxn(nil, lmdb.Readonly)
		if err != nil {
			return nil, nil, err
		}
		closeReader := func() error {
			tx.Abort()
			return nil
		}
		db, err := tx.OpenRoot(0)
		if err != nil {
			return nil, nil, errors.Join(err, closeReader())
		}
		tx.RawRead = true
		return func(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
			v, err := tx.Get(db, id[:])
			if lmdb.IsNotFound(err) {
				return dst, false, nil
			}
			return append(dst, v...), err == nil, err
		}, closeReader, nil
	}
	return &Store{reader, env.Close}, nil
}
