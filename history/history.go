// Package history describes the generations of a directory, finds the record that
// each of them has for an id, and compares two of them.
//
// It reads with pread, opens one generation at a time and a few of its files, and
// shares nothing with the lookups of a server. A lookup reads the header, the
// trailer and one block of a file, whatever its size. Generations may appear and
// vanish during a call; it skips those that Prune removes.
package history

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// MaxGenerations is the number of generations that a call reads, the newest ones.
const MaxGenerations = 100

// A Directory holds the generations of a directory from the point of view of a
// program. Its functions return them newest first.
type Directory struct {
	Path   string
	Digits generation.Digits // of the shards that the program needs
	Status generation.Status // of the program

	// Idle makes the functions sleep for Idle times as long as they work, after each
	// generation or each MiB, so that they leave the processors to the requests of a
	// server. 0: they do not sleep.
	Idle int

	Cache *Cache // of Generations; nil: none
}

// maxPause bounds a pause, because a slow read of the disk takes no processor.
const maxPause = 4 * time.Millisecond

// pause sleeps after work of d.
func (d Directory) pause(worked time.Duration) {
	if d.Idle > 0 {
		time.Sleep(min(time.Duration(d.Idle)*worked, maxPause))
	}
}

// A State is the reason why a generation is live or not.
type State string

// The states.
const (
	StateLive       State = "live"
	StateRetained   State = "retained"   // another one is preferred to it
	StateFuture     State = "future"     // too far ahead of the clock to be preferred
	StateIncomplete State = "incomplete" // lacks shards that the program needs
	StateRefused    State = "refused"    // not servable
)

// A Generation describes a generation.
type Generation struct {
	ID      generation.ID
	Shards  int
	Rule    format.ShardRule
	Records int64 // in the files that are there; -1: unknown
	Bytes   int64 // length of these files
	State   State
	Pinned  bool
	Err     error               // why it is not servable, according to its headers
	Summary *generation.Summary // nil: there is none
}

// Generations describes the newest MaxGenerations generations of d. It reads only
// their headers and summaries. omitted is the number of older generations.
func (d Directory) Generations(ctx context.Context) (list []Generation, omitted int, err error) {
	found, omitted, err := d.list()
	if err != nil {
		return nil, 0, err
	}
	run := d.Cache.begin()
	defer d.Cache.end(run) // also after ctx, so that the next call gets further
	for _, g := range found {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		began := time.Now()
		if described, ok := d.describe(run, g); ok {
			list = append(list, described)
		}
		d.pause(time.Since(began))
	}
	return list, omitted, nil
}

// list returns the generations, newest first.
func (d Directory) list() (list []generation.Generation, omitted int, err error) {
	list, err = generation.List(d.Path)
	if errors.Is(err, fs.ErrNotExist) { // it may be created later
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	slices.Reverse(list)
	n := min(len(list), MaxGenerations)
	return list[:n], len(list) - n, nil
}

// describe describes g. It reports false if the files of g are gone.
func (d Directory) describe(run cacheRun, g generation.Generation) (Generation, bool) {
	x := Generation{ID: g.ID, Shards: g.Shards, Records: -1, Pinned: d.isPinned(g)}
	numFiles := len(g.Files)
	var headers []*format.Header
	for shard := range g.Shards {
		path := g.Path(shard)
		if path == "" {
			continue
		}
		h, err := cachedRead(run, path, func() (format.Header, error) { return readHeader(path) })
		switch {
		case errors.Is(err, fs.ErrNotExist):
			numFiles--
		case err == nil:
			if err = (generation.Name{ID: g.ID, Shard: shard, Shards: g.Shards}).CheckHeader(&h); err != nil {
				err = fmt.Errorf("%s: %w", path, err)
			}
		}
		if err == nil {
			headers = append(headers, &h)
		} else if x.Err == nil && (d.Digits == generation.AllDigits || len(headers) == 0 || d.Digits.Owns(headers[0].Sharding, uint32(shard))) {
			x.Err = err
		}
	}
	if numFiles == 0 {
		return Generation{}, false
	}
	if len(headers) > 0 {
		sum := generation.Sum(headers...)
		x.Rule, x.Bytes = sum.Rule, sum.FileLen
		if len(headers) == numFiles {
			x.Records = int64(sum.Records)
		}
	}
	x.State = d.stateOf(g, &x)
	if s, err := cachedRead(run, filepath.Join(d.Path, generation.SummaryName(g.ID)), func() (generation.Summary, error) {
		return generation.ReadSummary(d.Path, g.ID)
	}); err == nil {
		x.Summary = &s
	}
	return x, true
}

// stateOf returns the state of g, and sets x.Err.
func (d Directory) stateOf(g generation.Generation, x *Generation) State {
	if d.isLive(g) {
		x.Err = nil // the program has the files open
		return StateLive
	}
	if missing := g.MissingOf(d.Digits); len(missing) > 0 {
		x.Err = &generation.IncompleteError{ID: g.ID, Shards: g.Shards, Missing: missing}
		return StateIncomplete
	}
	for _, r := range d.Status.Refused {
		if slices.Contains(g.Files, r.Path) {
			x.Err = r.Err
		}
	}
	switch {
	case x.Err != nil:
		return StateRefused
	case g.ID.IsFuture(time.Now()):
		return StateFuture
	}
	return StateRetained
}

func (d Directory) isLive(g generation.Generation) bool {
	h := d.Status.Live
	return h != nil && generation.ID(h.Generation) == g.ID && int(h.Shards) == g.Shards
}

func (d Directory) isPinned(g generation.Generation) bool {
	pinned := d.Status.Pinned()
	return pinned != nil && *pinned == g.ID
}

func readHeader(path string) (format.Header, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return format.Header{}, err
	}
	defer f.Close()
	h, err := format.ReadHeader(f)
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.Size() != h.FileLen {
			err = fmt.Errorf("%w: %d bytes, want %d", format.ErrTruncated, info.Size(), h.FileLen)
		}
	}
	if err != nil && !errors.As(err, new(*fs.PathError)) {
		err = fmt.Errorf("%s: %w", filepath.Clean(path), err)
	}
	return h, err
}
