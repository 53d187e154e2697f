package peer

import (
	"context"
	"errors"

	"go.etcd.io/bbolt"

	"promostore/format"
)

var bboltBucket = []byte("promotions")

// buildBbolt writes a B+ tree with full pages in 16 transactions, with one sync
// at the end. A transaction keeps its changed pages in memory until it ends.
func buildBbolt(ctx context.Context, csv, path string) (err error) {
	t, err := readDataSet(ctx, csv)
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
	var ids []byte // a transaction keeps the IDs that it is given
	const step = 16
	for lo := 0; lo < len(t.buckets); lo += step {
		ids = ids[:0]
		err := db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists(bboltBucket)
			if err != nil {
				return err
			}
			bucket.FillPercent = 1
			for id, value := range t.part(lo, lo+step) {
				ids = append(ids, id...)
				if err := bucket.Put(ids[len(ids)-len(id):], value); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return db.Sync()
}

// openBbolt opens a store whose readers have one long transaction each.
func openBbolt(path string) (*Store, error) {
	db, err := bbolt.Open(path, 0, &bbolt.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	reader := func() (Get, func() error, error) {
		tx, err := db.Begin(false)
		if err != nil {
			return nil, nil, err
		}
		bucket := tx.Bucket(bboltBucket)
		return func(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
			v := bucket.Get(id[:])
			return append(dst, v...), v != nil, nil
		}, tx.Rollback, nil
	}
	return &Store{reader, db.Close}, nil
}
