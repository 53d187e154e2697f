package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"promostore/format"
	"promostore/internal/sysmem"
)

// Pebble is a log-structured merge tree.
var Pebble = Peer{
	Name:   "Pebble",
	Module: "github.com/cockroachdb/pebble/v2",
	Setup: "ids sorted in memory; tables of 64 MB written by sstable.Writer and ingested; newest format, " +
		"blocks of 4 KB with Snappy, bloom filters of 10 bits an id on all levels; a cache of an eighth of the memory",
	Build: buildPebble,
	Open:  openPebble,
}

// pebbleTable is the size of a table, in bytes, at which the next one begins.
const pebbleTable = 64 << 20

const pebbleFormat = pebble.FormatNewest

// pebbleOptions are for building and reading. The caller gives the reference
// to the cache back.
func pebbleOptions() *pebble.Options {
	o := &pebble.Options{
		Cache:              pebble.NewCache(sysmem.Total() / 8),
		FormatMajorVersion: pebbleFormat,
		DisableWAL:         true,
		Logger:             quietLogger{},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].FilterType = pebble.TableFilter
		o.TargetFileSizes[i] = pebbleTable
	}
	o.EnsureDefaults()
	return o
}

// quietLogger leaves out what Pebble tells about its work.
type quietLogger struct{}

func (quietLogger) Infof(string, ...any)             {}
func (quietLogger) Errorf(string, ...any)            {}
func (quietLogger) Fatalf(format string, arg ...any) { panic(fmt.Sprintf("pebble: "+format, arg...)) }

func buildPebble(ctx context.Context, csv, path string) (err error) {
	t, err := ReadTable(ctx, csv)
	if err != nil {
		return err
	}
	o := pebbleOptions()
	defer o.Cache.Unref()
	db, err := pebble.Open(path, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	tables, err := writeTables(ctx, t, path, o)
	if err != nil {
		return err
	}
	return db.Ingest(ctx, tables)
}

// writeTables writes the rows into tables of their own, from which they can be
// linked into the store in dir.
func writeTables(ctx context.Context, t *Table, dir string, o *pebble.Options) (paths []string, err error) {
	var w *sstable.Writer
	defer func() {
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	n := 0
	for id, value := range t.All() {
		if w == nil {
			path := filepath.Join(dir, fmt.Sprintf("promotions-%d.sst", len(paths)))
			f, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
			if err != nil {
				return nil, err
			}
			w = sstable.NewWriter(objstorageprovider.NewFileWritable(f),
				o.MakeWriterOptions(6, pebbleFormat.MaxTableFormat()))
			paths = append(paths, path)
		}
		if err := w.Set(id, value); err != nil {
			return nil, err
		}
		if n++; n%1024 != 0 || w.Raw().EstimatedSize() < pebbleTable {
			continue
		}
		full := w
		w = nil
		if err := errors.Join(full.Close(), ctx.Err()); err != nil {
			return nil, err
		}
	}
	return paths, nil
}

type pebbleStore struct {
	db    *pebble.DB
	cache *pebble.Cache
}

func openPebble(path string) (Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	o := pebbleOptions()
	o.ReadOnly = true
	db, err := pebble.Open(path, o)
	if err != nil {
		o.Cache.Unref()
		return nil, err
	}
	return &pebbleStore{db, o.Cache}, nil
}

func (s *pebbleStore) Close() error {
	err := s.db.Close()
	s.cache.Unref()
	return err
}

func (s *pebbleStore) Reader() (Reader, error) { return pebbleReader{s.db}, nil }

type pebbleReader struct{ db *pebble.DB }

func (r pebbleReader) Get(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
	v, closer, err := r.db.Get(id[:])
	if errors.Is(err, pebble.ErrNotFound) {
		return dst, false, nil
	}
	if err != nil {
		return dst, false, err
	}
	return append(dst, v...), true, closer.Close()
}

func (r pebbleReader) Close() error { return nil }
