package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// DefaultAbandoned is the age at which a plan that is not published counts as
// abandoned.
const DefaultAbandoned = 24 * time.Hour

// Sweep removes the files of published plans below url, the WORK of Make, and those
// of plans that were made longer ago than abandonedAfter. It returns their
// generations, oldest first. Files that a task leaves after its plan was swept are
// removed when the generation is as old. Nothing else below url is touched.
func Sweep(ctx context.Context, url string, opts objects.Options, abandonedAfter time.Duration) ([]generation.ID, error) {
	work, err := openFolder(url, opts)
	if err != nil {
		return nil, err
	}
	if _, err := generation.ParseID(filepath.Base(strings.TrimSuffix(work.prefix, "/"))); err == nil {
		return nil, permanent(fmt.Errorf("%s is one plan; sweep the directory of all plans", work.url("")))
	}
	return sweep(ctx, work, abandonedAfter, time.Now())
}

func sweep(ctx context.Context, work folder, abandonedAfter time.Duration, now time.Time) (removed []generation.ID, err error) {
	plans, err := scan(ctx, work)
	if err != nil {
		return nil, err
	}
	for _, p := range plans {
		if !p.published && now.Sub(p.planned) <= abandonedAfter {
			continue
		}
		if err := work.sub(p.id.String()).removeAll(ctx); err != nil {
			return removed, err
		}
		removed = append(removed, p.id)
	}
	return removed, nil
}

// A planFolder is a folder of a work folder with the name of a generation.
type planFolder struct {
	id        generation.ID
	planned   time.Time // time of plan.json; without one, of the ID or the last change of the directory
	published bool
}

// scan returns the plan folders of work, oldest first.
func scan(ctx context.Context, work folder) (list []planFolder, err error) {
	ids, err := planIDs(ctx, work)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		p := planFolder{id: id, planned: id.Time()}
		dir := work.sub(id.String())
		if planned, found, err := dir.modified(ctx, planName); err != nil {
			return nil, err
		} else if found {
			p.planned = planned
		} else if changed := dir.changed(); changed.After(p.planned) {
			p.planned = changed // Make may be about to write plan.json
		}
		if _, p.published, err = dir.modified(ctx, publishedName); err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	return list, nil
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
	if f.isLocal() {
		return removeDir(ctx, f.path)
	}
	if err := f.store.Delete(ctx, f.prefix+planName); err != nil {
		return err
	}
	names, err := f.store.Dirs(ctx, f.prefix) // a listing of all of them can be too long
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := f.sub(name).removeObjects(ctx, ""); err != nil {
			return err
		}
	}
	if err := f.removeObjects(ctx, publishedName); err != nil {
		return err
	}
	return f.store.Delete(ctx, f.prefix+publishedName)
}

// removeObjects deletes all objects in f except for one.
func (f folder) removeObjects(ctx context.Context, except string) error {
	const batch = 1000
	var keys []string
	for o, err := range f.store.List(ctx, f.prefix) {
		if err != nil {
			return err
		}
		if o.Key == f.prefix+except {
			continue
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

func removeDir(ctx context.Context, dir string) error {
	if err := os.Remove(filepath.Join(dir, planName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if e.Name() == publishedName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}
