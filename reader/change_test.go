package reader_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"promostore/format"
	"promostore/internal/gentest"
	"promostore/reader"
)

// othersOf returns as many keys as keysOf(1). The first and the last are the
// same, as are the first halves of all.
func othersOf() []format.Key {
	keys := keysOf(1)
	for i := 1; i < len(keys)-1; i++ {
		keys[i].Lo += 1000
	}
	return keys
}

// overwrite replaces the content of the file at path, in place, and restores
// its modification time. It returns after the change time has changed: before
// Linux 6.13, file times have a resolution of 10 ms at worst.
func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	info, err := os.Stat(path)
	gentest.Must(t, err)
	for before := changeTime(t, path); changeTime(t, path) == before; {
		gentest.Overwrite(t, path, 0, content)
		setTime(t, path, info.ModTime())
	}
}

// TestOverwrittenFileHidesNoID overwrites the live file with another good file
// of the same size and time. Until the poll that finds out has ended, lookups
// of all ids of the first file are right or fail.
func TestOverwrittenFileHidesNoID(t *testing.T) {
	others := filepath.Join(t.TempDir(), "others")
	writeKeys(t, others, 1, othersOf())
	content, err := os.ReadFile(others)
	gentest.Must(t, err)
	for _, opts := range []reader.StoreOptions{
		{Access: reader.AccessMmap},
		{Access: reader.AccessPread},
		{Access: reader.AccessMmap, IndexOnly: true},
		{Access: reader.AccessPread, IndexOnly: true},
	} {
		t.Run(fmt.Sprintf("%v, index only %t", opts.Access, opts.IndexOnly), func(t *testing.T) {
			s := newTestStore(t, opts)
			path := s.publish(1)
			s.poll()
			s.want(live(1))
			g, release := s.acquire()
			keys := keysOf(1)
			records, found := make([]format.Record, len(keys)), make([]bool, len(keys))
			check := func() (last error) {
				for i, k := range keys {
					switch r, found, err := g.Get(k); {
					case errors.Is(err, reader.ErrChanged):
						last = err
					case errors.Is(err, reader.ErrFault):
					case !found || err != nil || r != recordOf(k):
						t.Fatalf("Get(record %d) = %x, %t, %v", i, r, found, err)
					}
				}
				if err := g.GetBatch(keys, records, found); !errors.Is(err, reader.ErrChanged) && !errors.Is(err, reader.ErrFault) {
					t.Fatalf("GetBatch: %v", err)
				}
				return last
			}
			overwrite(t, path, content)
			changed := check()
			if changed == nil {
				t.Fatalf("no error is %v", reader.ErrChanged)
			}
			s.Changed(g, changed)
			s.Changed(g, changed)
			s.want(reader.Event{Kind: reader.EventChanged, ID: 1, Err: reader.ErrChanged}) // once
			polled := make(chan error, 1)
			go func() { polled <- s.Poll(context.WithoutCancel(t.Context())) }()
			for done := false; !done; _ = check() {
				select {
				case err := <-polled:
					gentest.Must(t, err)
					done = true
				default:
				}
			}
			s.want(fault(1), live(1))
			s.Changed(g, changed)
			s.want() // another file is live
			release()
			s.want(closed(1))

			other := s.Acquire(1)
			defer s.Release(other, 1)
			for i, k := range othersOf() {
				if r, found, err := other.Get(k); !found || err != nil || r != recordOf(k) {
					t.Fatalf("Get(other record %d) = %x, %t, %v", i, r, found, err)
				}
			}
			if _, found, err := other.Get(keys[500]); found || err != nil {
				t.Errorf("Get(absent) = %t, %v", found, err)
			}
		})
	}
}

// TestTouchedFile changes the times of the live file. Lookups of its ids
// succeed. Those of absent ids fail until Run, which Changed wakes, has verified
// the file.
func TestTouchedFile(t *testing.T) {
	for _, access := range accesses {
		s := newTestStore(t, reader.StoreOptions{Access: access})
		path := s.publish(1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Run(ctx, time.Hour, nil)
		}()
		s.want(live(1))
		g, release := s.acquire()
		setTime(t, path, time.Now().Add(time.Hour))
		for i, k := range keysOf(1) {
			if r, found, err := g.Get(k); !found || err != nil || r != recordOf(k) {
				t.Fatalf("%v: Get(record %d) = %x, %t, %v", access, i, r, found, err)
			}
		}
		_, found, err := g.Get(keysOf(2)[500])
		if found || !errors.Is(err, reader.ErrChanged) {
			t.Fatalf("%v: Get(absent) = %t, %v, want %v", access, found, err, reader.ErrChanged)
		}
		s.Changed(g, err)
		s.want(reader.Event{Kind: reader.EventChanged, ID: 1, Err: reader.ErrChanged}, reader.Event{Kind: reader.EventUnchanged, ID: 1})
		release()
		s.wantLive(1)
		cancel()
		<-done
	}
}

// TestLinksChangeNoContent links, protects and removes the live file, which
// changes its change time. Lookups of absent ids do not fail for it.
func TestLinksChangeNoContent(t *testing.T) {
	for _, access := range accesses {
		s := newTestStore(t, reader.StoreOptions{Access: access})
		path := s.publish(1)
		s.poll()
		s.want(live(1))
		link := filepath.Join(s.dir, "link")
		for _, change := range []func() error{
			func() error { return os.Link(path, link) },
			func() error { return os.Chmod(path, 0o400) },
			func() error { return os.Remove(link) },
			func() error { return os.Remove(path) },
		} {
			gentest.Must(t, change())
			s.wantLive(1)
		}
		s.poll()
		s.want(deleted(1))
		s.wantLive(1)
	}
}

// TestTruncatedFileHidesNoID cuts the live file within its last page, where no
// lookup meets a missing page.
func TestTruncatedFileHidesNoID(t *testing.T) {
	for _, access := range accesses {
		path := filepath.Join(t.TempDir(), "f")
		writeKeys(t, path, 1, keysOf(1))
		f := open(t, path, access)
		info, err := os.Stat(path)
		gentest.Must(t, err)
		gentest.Must(t, os.Truncate(path, info.Size()-1))
		if _, found, err := f.Get(keysOf(2)[500]); found || !errors.Is(err, reader.ErrFault) {
			t.Errorf("%v: Get(absent) = %t, %v, want %v", access, found, err, reader.ErrFault)
		}
	}
}
