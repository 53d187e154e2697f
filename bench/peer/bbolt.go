package peer

import (
	"context"
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"promostore/format"
)

// Bbolt is a B+ tree in a mapped file.
var Bbolt = Peer{
	Name:   "bbolt",
	Module: "go.etcd.io/bbolt",
	Setup: "ids sorted in memory; one bucket, FillPercent 1, transactions of 100,000 rows, NoSync, NoGrowSync and NoFreelistSync, " +
		"one sync at the end; read-only with one long transaction a reader",
	Build: buildBbolt,
	Open:  openBbolt,
}

var bboltBucket = []byte("promotions")

// bboltBatch is rows a transaction: pages that are to be written are kept in
// memory, and are split only when the transaction ends.
const bboltBatch = 100_000

func buildBbolt(ctx context.Context, csv, path string) (err error) {
	t, err := ReadTable(ctx, csv)
	if err != nil {
		return err
	}
	db, err := bbolt.Open(path, 0o644, &bbolt.Options{
		NoSync: true, NoGrowSync: true, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tx, err := db.Begin(true)
	if err != nil {
		return err
	}
	defer func() {
		if rollback := tx.Rollback(); !errors.Is(rollback, bbolterrors.ErrTxClosed) {
			err = errors.Join(err, rollback)
		}
	}()
	bucket, err := tx.CreateBucket(bboltBucket)
	if err != nil {
		return err
	}
	bucket.FillPercent = 1
	n := 0
	// A transaction keeps the ids that it is given, until it ends.
	ids := make([]byte, 0, bboltBatch*format.KeyLen)
	for id, value := range t.All() {
		ids = append(ids, id...)
		if err := bucket.Put(ids[len(ids)-len(id):], value); err != nil {
			return err
		}
		if n++; n%bboltBatch != 0 {
			continue
		}
		if err := errors.Join(tx.Commit(), ctx.Err()); err != nil {
			return err
		}
		if tx, err = db.Begin(true); err != nil {
			return err
		}
		bucket, ids = tx.Bucket(bboltBucket), ids[:0]
		bucket.FillPercent = 1
	}
	return errors.Join(tx.Commit(), db.Sync())
}

type bboltStore struct{ db *bbolt.DB }

func openBbolt(path string) (Store, error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("bbolt: %w", err)
	}
	return bboltStore{db}, nil
}

func (s bboltStore) Close() error { return s.db.Close() }

func (s bboltStore) Reader() (Reader, error) {
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return &bboltReader{tx, tx.Bucket(bboltBucket)}, nil
}

type bboltReader struct {
	tx     *bbolt.Tx
	bucket *bbolt.Bucket
}

func (r *bboltReader) Get(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
	v := r.bucket.Get(id[:])
	return append(dst, v...), v != nil, nil
}

func (r *bboltReader) Close() error { return r.tx.Rollback() }
