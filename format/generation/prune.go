package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"promostore/internal/fsx"
)

// Pruned is what Prune has done, or with DryRun would have done.
type Pruned struct {
	Kept    []Generation // what is left, oldest first
	Removed []Generation // oldest first
	Bytes   int64        // length of the files removed
}

// PruneOptions says what to keep.
type PruneOptions struct {
	Keep   int                    // how many good generations, at least 1
	Check  func(Generation) error // reports why a generation is not servable; it must verify the blocks
	DryRun bool                   // remove nothing
}

// Prune removes what is older than the newest good generations, of which it
// keeps as many as told, except for the pinned one. Generations that are bad or
// incomplete count for nothing, and are removed only if they are older, too:
// newer ones may still be arriving.
//
// If there are fewer good ones than it should keep, or the pin cannot be read,
// it removes nothing. Files are unlinked one by one, oldest first, so that a
// crash leaves what a smaller Prune would have; who has one open goes on
// reading it. Pruned is right also if there is an error.
func (w *Writer) Prune(ctx context.Context, opts PruneOptions) (Pruned, error) {
	if opts.Keep < 1 {
		return Pruned{}, fmt.Errorf("%d generations are to be kept, not at least 1", opts.Keep)
	}
	list, err := List(w.dir)
	if err != nil {
		return Pruned{}, err
	}
	oldest, err := w.oldestKept(ctx, list, opts)
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
	return w.remove(list, func(g Generation) bool {
		return g.ID < oldest && !(pin.Active && g.ID == pin.ID)
	}, opts.DryRun)
}

// oldestKept is the ID from which on all are kept.
func (w *Writer) oldestKept(ctx context.Context, list []Generation, opts PruneOptions) (ID, error) {
	if len(list) <= opts.Keep {
		return 0, nil // without a look at files that may be large
	}
	good := 0
	for i := len(list) - 1; i >= 0; i-- {
		err := opts.Check(list[i])
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			continue
		}
		// What is kept must outlive a power cut behind the removal of the rest:
		// a file that was copied here may not be on the disk yet.
		if err := syncFiles(list[i]); err != nil {
			return 0, err
		}
		if good++; good == opts.Keep {
			return list[i].ID, fsx.SyncDir(w.dir)
		}
	}
	return 0, nil
}

// remove removes those of list that are old.
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
	}
	if err == nil && !dryRun && len(p.Removed) > 0 {
		err = fsx.SyncDir(w.dir)
	}
	return p, err
}

// removeFiles unlinks the files of g and returns what they were long.
func removeFiles(g Generation, dryRun bool) (n int64, err error) {
	for _, path := range g.Files {
		info, err := os.Lstat(path)
		if err == nil && !dryRun {
			err = os.Remove(path)
		}
		switch {
		case err == nil:
			n += info.Size()
		case !errors.Is(err, fs.ErrNotExist): // else another was faster
			return n, err
		}
	}
	return n, nil
}

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
