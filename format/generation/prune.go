package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"promostore/internal/fsx"
)

// Pruned is the result of Prune, or with DryRun the result it would have.
type Pruned struct {
	Kept    []Generation // oldest first
	Removed []Generation // oldest first
	Bytes   int64        // length of the removed files
}

// PruneOptions control Prune.
type PruneOptions struct {
	Keep   int                    // number of servable generations to keep, at least 1
	Check  func(Generation) error // reports why a generation is not servable, and verifies the blocks
	DryRun bool                   // remove nothing
}

// Prune keeps the newest opts.Keep servable generations and the pinned one, unless
// its pin is released, and removes all older generations. An ID counts once.
// Generations that are not servable do not count towards opts.Keep. Prune keeps
// those that are newer than the oldest generation kept, because their files may
// still be arriving. Generations from the future do
// not count either, and are kept: the clock of this machine may be the wrong one.
//
// Prune removes nothing if there are fewer than opts.Keep servable generations
// or if the pin cannot be read. It unlinks the files one by one, oldest first,
// so that a crash leaves the newest, and the summary of a generation after its
// files. A process that has a removed file open can still read it. The result is
// also valid with an error.
func (w *Writer) Prune(ctx context.Context, opts PruneOptions) (Pruned, error) {
	if opts.Keep < 1 {
		return Pruned{}, fmt.Errorf("%d generations to keep, want at least 1", opts.Keep)
	}
	list, err := List(w.dir)
	if err != nil {
		return Pruned{}, err
	}
	oldest, newest, err := w.oldestKept(ctx, list, opts)
	if err != nil {
		return Pruned{Kept: list}, err
	}
	unlock, err := lockDir(w.dir)
	if err != nil {
		return Pruned{Kept: list}, err
	}
	defer unlock()
	pin, err := ReadPin(w.dir)
	if err != nil {
		return Pruned{Kept: list}, err
	}
	pinned := pin.Active && !pin.ReleasedBy(newest, time.Now())
	return w.remove(list, func(g Generation) bool {
		return g.ID < oldest && !(pinned && g.ID == pin.ID)
	}, opts.DryRun)
}

// oldestKept returns the lowest ID of the generations to keep and the ID of the
// newest servable one. If oldest is 0, all are kept, and newest may be 0 as well.
func (w *Writer) oldestKept(ctx context.Context, list []Generation, opts PruneOptions) (oldest, newest ID, err error) {
	list = list[len(Future(list)):]
	if !w.mayRemove(list, opts.Keep) {
		return 0, 0, nil // without reading files, which may be large
	}
	servable := 0
	counted := ID(-1)
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].ID == counted { // with another number of shards
			continue
		}
		err := opts.Check(list[i])
		if ctx.Err() != nil {
			return 0, 0, context.Cause(ctx)
		}
		if err != nil {
			continue
		}
		// The kept generations must survive a power cut after the removal of
		// the others. A copied file may not be on the disk yet.
		if err := syncFiles(list[i]); err != nil {
			return 0, 0, err
		}
		counted = list[i].ID
		if servable++; servable == 1 {
			newest = counted
		}
		if servable == opts.Keep {
			return list[i].ID, newest, fsx.SyncDir(w.dir)
		}
	}
	return 0, 0, nil
}

// mayRemove reports whether Prune removes any generation of list if all are
// servable.
func (w *Writer) mayRemove(list []Generation, keep int) bool {
	pin, err := ReadPin(w.dir)
	if err != nil {
		pin = Pin{} // Prune reads it again
	}
	now := time.Now()
	released := slices.ContainsFunc(list, func(g Generation) bool { return pin.ReleasedBy(g.ID, now) })
	return slices.ContainsFunc(list[:max(0, len(list)-keep)], func(g Generation) bool {
		return !pin.Active || released || g.ID != pin.ID
	})
}

// remove removes the generations of list for which old returns true.
func (w *Writer) remove(list []Generation, old func(Generation) bool, dryRun bool) (p Pruned, err error) {
	for _, g := range list {
		if err != nil || !old(g) {
			p.Kept = append(p.Kept, g)
			continue
		}
		var n int64
		n, err = removeFiles(g, dryRun)
		p.Bytes += n
		if err != nil {
			p.Kept = append(p.Kept, g)
			continue
		}
		p.Removed = append(p.Removed, g)
		// Another generation of the same ID, which has another number of shards, has
		// the same summary.
		if !dryRun && !slices.ContainsFunc(p.Kept, func(k Generation) bool { return k.ID == g.ID }) {
			removeSummary(w.dir, g.ID)
		}
	}
	if err == nil && !dryRun && len(p.Removed) > 0 {
		err = fsx.SyncDir(w.dir)
	}
	return p, err
}

// removeFiles unlinks the files of g and returns their total length.
func removeFiles(g Generation, dryRun bool) (n int64, err error) {
	for _, path := range g.Files {
		info, err := os.Lstat(path)
		if err == nil && !dryRun {
			err = os.Remove(path)
		}
		switch {
		case err == nil:
			n += info.Size()
		case !errors.Is(err, fs.ErrNotExist): // another process may have removed it
			return n, err
		}
	}
	return n, nil
}

// syncFiles makes the contents of the files of g durable.
func syncFiles(g Generation) error {
	for _, path := range g.Files {
		f, err := fsx.OpenRegular(path)
		if err != nil {
			return err
		}
		err = f.Sync()
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
