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

const (
	pebbleTable  = 64 << 20 // bytes of a table
	pebbleFormat = pebble.FormatNewest
)

// pebbleOptions returns the options for building and reading: blocks of 4 KB
// with Snappy, Bloom filters of 10 bits an ID, a cache of an eighth of the
// memory. The caller releases the cache.
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

type quietLogger struct{}

func (quietLogger) Infof(string, ...any)             {}
func (quietLogger) Errorf(string, ...any)            {}
func (quietLogger) Fatalf(format string, arg ...any) { panic(fmt.Sprintf("pebble: "+format, arg...)) }

// buildPebble writes sorted tables and ingests them.
func buildPebble(ctx context.Context, csv, path string) (err error) {
	t, err := readDataSet(ctx, csv)
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

// writeTables writes the rows to tables in dir, from which the store can link
// them.
func writeTables(ctx context.Context, t *dataSet, dir string, o *pebble.Options) (paths []string, err error) {
	var w *sstable.Writer
	defer func() {
		if w != nil {
			err = errors.Join(err, w.Close())
		}
	}()
	n := 0
	for id, value := range t.all() {
		if w == nil {
			path := filepath.Join(dir, fmt.Sprintf("promotions-%d.sst", len(paths)))
			f, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
			if err != nil {
				return nil, err
			}
			w = sstable.NewWriter(objstorageprovider.NewFileWritable(f), o.MakeWriterOptions(6, pebbleFormat.MaxTableFormat()))
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

// openPebble opens a store, which needs no state for each reader.
func openPebble(path string) (*Store, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	o := pebbleOptions()
	defer o.Cache.Unref() // the store keeps its own reference
	o.ReadOnly = true
	db, err := pebble.Open(path, o)
	if err != nil {
		return nil, err
	}
	get := func(id *[format.KeyLen]byte, dst []byte) ([]byte, bool, error) {
		v, closer, err := db.Get(id[:])
		if errors.Is(err, pebble.ErrNotFound) {
			return dst, false, nil
		}
		if err != nil {
			return dst, false, err
		}
		return append(dst, v...), true, closer.Close()
	}
	return &Store{func() (Get, func() error, error) { return get, func() error { return nil }, nil }, db.Close}, nil
}
