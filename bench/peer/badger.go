package peer

import (
	"context"
	"errors"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"

	"promostore/format"
	"promostore/internal/sysmem"
)

// Badger is a log-structured merge tree whose large values are elsewhere.
var Badger = Peer{
	Name:   "Badger",
	Module: "github.com/dgraph-io/badger/v4",
	Setup: "ids sorted in memory; StreamWriter, values in the tables, neither compression nor conflict detection, " +
		"bloom filters; read-only with one long transaction a reader, a block cache of an eighth of the memory",
	Build: buildBadger,
	Open:  openBadger,
}

// badgerOptions are for building and reading. Its documentation says that
// without compression and encryption a block cache is of little use, but that
// the blocks of one table then stay mapped.
func badgerOptions(path string) badger.Options {
	return badger.DefaultOptions(path).
		WithLogger(nil).
		WithCompression(options.None).
		WithDetectConflicts(false).
		WithMetricsEnabled(false).
		WithNumVersionsToKeep(1).
		WithBlockCacheSize(sysmem.Total() / 8)
}

// badgerBatch is how many bytes are given to the writer at once, about.
const badgerBatch = 4 << 20

func buildBadger(ctx context.Context, csv, path string) (err error) {
	t, err := ReadTable(ctx, csv)
	if err != nil {
		return err
	}
	db, err := badger.Open(badgerOptions(path))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := db.NewStreamWriter()
	if err := w.Prepare(); err != nil {
		return err
	}
	buf := z.NewBuffer(badgerBatch+1<<10, "rows")
	defer func() { err = errors.Join(err, buf.Release()) }()
	for id, value := range t.All() {
		badger.KVToBuffer(&pb.KV{Key: id, Value: value, Version: 1, StreamId: 1}, buf)
		if buf.LenNoPadding() < badgerBatch {
			continue
		}
		if err := errors.Join(w.Write(buf), ctx.Err()); err != nil {
			return err
		}
		buf.Reset()
	}
	return errors.Join(w.Write(buf), w.Flush())
}

type badgerStore struct{ db *badger.DB }

func openBadger(path string) (Store, error) {
	db, err := badger.Open(badgerOptions(path).WithReadOnly(true))
	if err != nil {
		return nil, err
	}
	return badgerStore{db}, nil
}

func (s badgerStore) Close() error { return s.db.Close() }

func (s badgerStore) Reader() (Reader, error) { return badgerReader{s.db.NewTransaction(false)}, nil }

type badgerReader struct{ tx *badger.Txn }

func (r badgerReader) Get(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
	item, err := r.tx.Get(id[:])
	if errors.Is(err, badger.ErrKeyNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, err
	}
	err = item.Value(func(v []byte) error {
		dst = append(dst, v...)
		return nil
	})
	return dst, err == nil, err
}

func (r badgerReader) Close() error {
	r.tx.Discard()
	return nil
}
