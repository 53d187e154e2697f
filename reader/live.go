package reader

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"syscall"
	"time"

	"promostore/format"
	"promostore/format/generation"
)

// A touchedFile is a file of the live generation whose times have changed.
type touchedFile struct {
	*File
	now fileState
}

// checkLive verifies again those files of the live generation whose times have
// changed, as after touch. It reports a fault if a size has changed or a file is
// bad. Lookups that find their id do not notice that a file was cut in mid-page or
// overwritten.
func (s *Store) checkLive(ctx context.Context) error {
	g := s.Acquire(0)
	if g == nil {
		return nil
	}
	defer s.Release(g, 0)
	var touched []touchedFile
	known := true
	for _, f := range g.owned {
		now, err := f.state()
		if err != nil {
			known = false
			continue
		}
		switch good := f.good.Load(); {
		case good.unchanged(&now):
			f.adopt(good, now)
		case now.size != f.index.FileLen:
			s.faultLive(g, f)
			return nil
		default:
			touched = append(touched, touchedFile{f, now})
		}
	}
	if len(touched) > 0 {
		if s.now().Before(s.polling.retry.until) {
			return nil
		}
		bad, err := s.verifyAgain(ctx, touched)
		switch {
		case err == nil:
			s.polling.retry = backoff{}
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isTransient(err):
			s.polling.retry = s.polling.retry.failed(s.now())
			return nil
		default:
			s.faultLive(g, bad)
			return nil
		}
	}
	if known {
		s.reportUnchanged(g)
	}
	return nil
}

// faultLive reports that f, a file of the live generation, has changed.
func (s *Store) faultLive(g *Generation, f *File) {
	s.fault(g, f, fmt.Errorf("%w: %s", ErrFault, f.change()))
}

// reportUnchanged reports that g is good, if EventChanged was reported before.
func (s *Store) reportUnchanged(g *Generation) {
	if f := g.lease.changed.Swap(nil); f != nil {
		s.events.notify(Event{Kind: EventUnchanged, ID: g.ID(), Path: f.path})
	}
}

// verifyAgain verifies files of the live generation again, as far as prepare did,
// and records their states as good. It stops at the first error and returns its
// file.
func (s *Store) verifyAgain(ctx context.Context, files []touchedFile) (bad *File, err error) {
	// Without this pause, a write that follows the verification may leave the
	// times as they are.
	pause := time.Duration(0)
	for i := range files {
		pause = max(pause, files[i].now.settleTime())
	}
	settled := time.NewTimer(pause)
	defer settled.Stop()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-settled.C:
	}
	for i := range files {
		f := files[i].File
		if err := s.verifyFileAgain(ctx, f); err != nil {
			return f, err
		}
		f.good.Store(&files[i].now)
	}
	return nil, nil
}

// verifyFileAgain verifies f. The index must be the same as before, because
// another good file would not fit the tables in memory.
func (s *Store) verifyFileAgain(ctx context.Context, f *File) error {
	x, err := format.Open(f.file, f.index.FileLen)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(x, f.index) {
		return fmt.Errorf("%w: the file has other checksums than when it was opened", format.ErrChecksum)
	}
	if s.opts.IndexOnly {
		return nil
	}
	return f.verify(ctx, 1, nil)
}

// recoverLive reads the blocks again that lookups in the live generation could
// not read. If an open file remains unreadable, but its path can be read, the
// generation is opened again. The error is that of try.
func (s *Store) recoverLive(ctx context.Context, d desired, list []generation.Generation) error {
	g := s.Acquire(0)
	if g == nil {
		return nil
	}
	defer s.Release(g, 0)
	if s.now().Before(s.polling.retry.until) {
		return nil
	}
	var unreadable *File
	recovered := false
	for _, f := range g.owned {
		failed := f.failure.Load()
		switch {
		case failed == nil:
		case isTransient(f.VerifyKey(failed.key)):
			unreadable = f
		default:
			f.failure.Store(nil)
			recovered = true
		}
	}
	if unreadable == nil {
		if recovered {
			s.polling.retry = backoff{}
			if f := g.lease.failed.Swap(nil); f != nil {
				s.events.notify(Event{Kind: EventReadable, ID: g.ID(), Path: f.path})
			}
		}
		return nil
	}
	s.polling.retry = s.polling.retry.failed(s.now())
	again, err := Open(unreadable.path, AccessPread)
	if err != nil {
		return nil
	}
	err = errors.Join(again.VerifyKey(unreadable.failure.Load().key), again.Close())
	if err != nil {
		return nil
	}
	for _, listed := range list {
		if listed.ID == g.ID() && listed.Shards == int(g.Sharding().Shards) {
			_, err := s.try(ctx, listed, d)
			return err
		}
	}
	return nil
}

// reportDeleted reports that a file of the live generation was deleted, or that
// the directory has all of them again. Newer generations were tried before, so one
// that was pruned while its successor was verified is no longer live.
func (s *Store) reportDeleted() {
	l := s.live.Load()
	if l == nil {
		return
	}
	var deleted *File
	var reason error
	for _, f := range l.generation.owned {
		_, err := os.Stat(f.path)
		switch {
		case err == nil:
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
			return // it is not known
		case deleted == nil:
			deleted, reason = f, err
		}
	}
	old := l.deleted.Swap(deleted)
	switch {
	case old == nil && deleted != nil:
		s.events.notify(Event{Kind: EventDeleted, ID: l.generation.ID(), Path: deleted.path, Err: reason})
	case old != nil && deleted == nil:
		s.events.notify(Event{Kind: EventRestored, ID: l.generation.ID(), Path: old.path})
	}
}
