package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// DefaultAbandoned is the time after which a plan without activity counts as
// abandoned.
const DefaultAbandoned = 24 * time.Hour

// Sweep removes the work files of published plans below url, the WORK of Make. It
// keeps plan.json and published.json, so that late attempts at their tasks have
// nothing to do. It removes all files of plans without activity for abandonedAfter:
// the plan, the end of a task, or the publication. Files that a task leaves after its
// plan is gone are removed when the generation is as old. Sweep touches nothing else
// below url. It returns the generations of which it removed files, oldest first.
func Sweep(ctx context.Context, url string, opts objects.Options, abandonedAfter time.Duration) ([]generation.ID, error) {
	work, err := openFolder(url, opts)
	if err != nil {
		return nil, err
	}
	if isPlanName(filepath.Base(strings.TrimSuffix(work.prefix, "/"))) {
		return nil, permanent(fmt.Errorf("%s is one plan; sweep the directory of all plans", work.url("")))
	}
	return sweep(ctx, work, abandonedAfter, 0)
}

// sweep is Sweep for all plans except that of the generation keep.
func sweep(ctx context.Context, work folder, abandonedAfter time.Duration, keep generation.ID) (swept []generation.ID, err error) {
	ids, err := planIDs(ctx, work)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	now, err := work.now(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if id == keep {
			continue
		}
		removed, err := work.sub(id.String()).sweepPlan(ctx, id, now.Add(-abandonedAfter))
		if err != nil {
			return swept, err
		}
		if removed {
			swept = append(swept, id)
		}
	}
	return swept, nil
}

// sweepPlan sweeps the folder of one plan. It removes all of it if the last activity
// is not after abandoned. It reports whether it removed files.
func (f folder) sweepPlan(ctx context.Context, id generation.ID, abandoned time.Time) (removed bool, err error) {
	planned, isPlanned, err := f.modified(ctx, planName)
	if err != nil {
		return false, err
	}
	published, isPublished, err := f.modified(ctx, publishedName)
	if err != nil {
		return false, err
	}
	var isActive bool
	switch {
	case !isPlanned: // a killed sweep, late tasks, or Make is about to write plan.json
		isActive = !isPublished && (id.Time().After(abandoned) || f.changed().After(abandoned))
	case isPublished:
		isActive = published.After(abandoned)
	default:
		isActive = planned.After(abandoned)
		if !isActive {
			isActive, err = f.isDoneAfter(ctx, abandoned)
		}
	}
	switch {
	case err != nil:
		return false, err
	case !isActive:
		return true, f.removeAll(ctx)
	case isPublished:
		return f.removeWork(ctx)
	}
	return false, nil
}

// isDoneAfter reports whether a task of the plan in f was done after t.
func (f folder) isDoneAfter(ctx context.Context, t time.Time) (bool, error) {
	names, err := f.store.Dirs(ctx, f.prefix)
	if err != nil {
		return false, err
	}
	var later atomic.Bool
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(doneAtOnce)
	for _, name := range names {
		g.Go(func() error {
			if later.Load() {
				return nil
			}
			done, found, err := f.sub(name).modified(ctx, doneName)
			if found && done.After(t) {
				later.Store(true)
			}
			return err
		})
	}
	err = g.Wait()
	return later.Load(), err
}

// clockName is the name of an object that a sweep writes into WORK and deletes.
const clockName = "sweep.clock"

// now returns the time of the store, from an object that it writes. The clock of this
// machine may be wrong by days, and plans under way would be swept.
func (f folder) now(ctx context.Context) (now time.Time, err error) {
	for found := false; !found && err == nil; { // another sweep may delete it
		if _, err = f.store.Put(ctx, f.prefix+clockName, strings.NewReader("."), 1, objects.Always); err == nil {
			now, found, err = f.modified(ctx, clockName)
		}
	}
	return now, errors.Join(err, f.store.Delete(ctx, f.prefix+clockName))
}

// planIDs returns the generations that have a folder in work, in ascending order.
func planIDs(ctx context.Context, work folder) (ids []generation.ID, err error) {
	names, err := work.store.Dirs(ctx, work.prefix)
	for _, name := range names { // IDs sort like their texts
		if id, err := generation.ParseID(name); err == nil {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// modified returns the time when an object was written, and whether there is one.
func (f folder) modified(ctx context.Context, name string) (t time.Time, found bool, err error) {
	r, err := f.store.Open(ctx, f.prefix+name)
	if errors.Is(err, objects.ErrNotFound) {
		return t, false, nil
	}
	if err != nil {
		return t, false, err
	}
	return r.Object().Modified, true, r.Close()
}

// changed returns the time at which a name was last added to a directory or removed
// from it; zero in object storage.
func (f folder) changed() time.Time {
	if f.isLocal() {
		if info, err := os.Stat(f.path); err == nil {
			return info.ModTime()
		}
	}
	return time.Time{}
}

// removeAll removes the folder of a plan: plan.json first, so that no task begins,
// and published.json last, so that the next sweep goes on if this one is killed.
func (f folder) removeAll(ctx context.Context) error {
	if err := f.store.Delete(ctx, f.prefix+planName); err != nil {
		return err
	}
	if _, err := f.removeWork(ctx); err != nil {
		return err
	}
	return f.remove(ctx)
}

// removeWork removes the folders of the tasks of a plan. It reports whether there
// were any.
func (f folder) removeWork(ctx context.Context) (removed bool, err error) {
	names, err := f.store.Dirs(ctx, f.prefix) // a listing of all objects can be too long
	if err != nil {
		return false, err
	}
	for _, name := range names {
		if ctx.Err() != nil {
			return true, context.Cause(ctx)
		}
		if err := f.sub(name).remove(ctx); err != nil {
			return true, err
		}
	}
	return len(names) > 0, nil
}

// remove removes all objects in f, and the directory.
func (f folder) remove(ctx context.Context) error {
	if f.isLocal() {
		return os.RemoveAll(f.path)
	}
	const batch = 1000
	var keys []string
	for o, err := range f.store.List(ctx, f.prefix) {
		if err != nil {
			return err
		}
		if keys = append(keys, o.Key); len(keys) < batch {
			continue
		}
		if err := f.store.Delete(ctx, keys...); err != nil {
			return err
		}
		keys = keys[:0]
	}
	return f.store.Delete(ctx, keys...)
}
