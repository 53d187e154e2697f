package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/objects"
)

var (
	// ErrLocked reports that another process pulls to the directory.
	ErrLocked = errors.New("another pull is running")

	// ErrNone reports that a Location has no complete generation.
	ErrNone = errors.New("no complete generation")

	// ErrDamaged reports that an object does not fit the manifest.
	ErrDamaged = errors.New("object is damaged")
)

// Names in the directory. promo-pull, which uses rsync, has the same lock.
const (
	lockName     = ".pull.lock"
	incomingName = ".incoming"
)

// PullOptions control Pull.
type PullOptions struct {
	Keep   int               // copy the newest Keep generations and the pinned one
	Digits generation.Digits // copy only the files that a server of these digits needs

	Progress Progress
}

// Pulled is the result of Pull.
type Pulled struct {
	Wanted     []generation.ID // those that dir has now, in the order of their arrival
	New        []generation.ID // those of Wanted that arrived now
	PassedOver []PassedOver
	Pin        generation.Pin // of the directory
	Bytes      int64          // that were received
}

// PassedOver names a generation that Pull did not copy, and the reason.
type PassedOver struct {
	ID  generation.ID
	Err error
}

// Pull copies the newest generations of l and its pin to dir, which it creates if
// it does not exist. Files arrive in a hidden directory, and get their names when
// their generation is there and verified.
//
// A generation is passed over for the next older one if it has no complete set of
// files in l, or if a file is damaged. Only damage is an error. The result is also
// valid with an error.
func (l Location) Pull(ctx context.Context, dir string, opts PullOptions) (Pulled, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Pulled{}, err
	}
	unlock, err := lock(dir)
	if err != nil {
		return Pulled{}, err
	}
	defer unlock()
	p := &pull{Location: l, PullOptions: opts, dir: dir, incoming: filepath.Join(dir, incomingName)}
	err = p.run(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return p.result, err
}

// lock takes the lock of all pulls to dir. The file remains: if it were removed,
// two pulls could lock two files of the same name.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w to %s; it copies the pin as well", ErrLocked, dir)
		}
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { _ = f.Close() }, nil
}

// A pull is one call of Pull.
type pull struct {
	Location
	PullOptions
	dir      string
	incoming string
	have     contents
	damage   []error
	result   Pulled

	pinMu sync.Mutex // serializes pullPin
}

func (p *pull) run(ctx context.Context) error {
	// A rollback must not wait for the transfer of a generation.
	if err := p.pullPin(ctx); err != nil {
		return err
	}
	stop := p.followPin(ctx)
	defer stop()
	var err error
	if p.have, err = p.list(ctx); err != nil {
		return err
	}
	pin, err := generation.ReadPin(p.dir)
	if err != nil {
		return err
	}
	order := newestFirst(p.have.manifests)
	pinned, err := p.wantsPinned(pin, order)
	if err != nil {
		return err
	}
	likely := order[:min(p.Keep, len(order))]
	if pinned {
		likely = append(slices.Clip(likely), pin.ID)
	}
	if err := p.sweep(likely); err != nil {
		return err
	}
	if pinned { // servers wait for it
		if err := p.try(ctx, pin.ID); err != nil {
			return err
		}
	}
	for kept := 0; len(order) > 0 && kept < p.Keep; order = order[1:] {
		if id := order[0]; !pinned || id != pin.ID {
			if err := p.try(ctx, id); err != nil {
				return err
			}
		}
		if slices.Contains(p.result.Wanted, order[0]) {
			kept++
		}
	}
	if err := p.pullPin(ctx); err != nil {
		return err
	}
	if err := errors.Join(p.damage...); err != nil {
		return err
	}
	if len(p.result.Wanted) == 0 {
		return fmt.Errorf("%s: %w", p.Location, ErrNone)
	}
	return os.RemoveAll(p.incoming) // has only files of generations that are gone
}

// newestFirst returns the ids in the reverse order of ID.Before.
func newestFirst(ids []generation.ID) []generation.ID {
	now := time.Now()
	ids = slices.Clone(ids)
	slices.SortFunc(ids, func(a, b generation.ID) int {
		switch {
		case a.Before(b, now):
			return 1
		case b.Before(a, now):
			return -1
		}
		return 0
	})
	return ids
}

// sweep removes the arriving files of other generations than wanted, which an
// earlier pull began.
func (p *pull) sweep(wanted []generation.ID) error {
	entries, err := os.ReadDir(p.incoming)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		name, nameErr := generation.ParseName(strings.TrimSuffix(e.Name(), refusedSuffix))
		if nameErr != nil || !slices.Contains(wanted, name.ID) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(p.incoming, e.Name())))
		}
	}
	return err
}

// try copies a generation unless it is here. It passes over a generation that is
// incomplete or damaged. Any other error ends the pull.
func (p *pull) try(ctx context.Context, id generation.ID) error {
	arrived, err := p.fetch(ctx, id)
	switch {
	case err == nil:
		p.result.Wanted = append(p.result.Wanted, id)
		if arrived {
			p.result.New = append(p.result.New, id)
		}
		return nil
	case errors.Is(err, objects.ErrNotFound), errors.Is(err, generation.ErrIncomplete):
	case errors.Is(err, objects.ErrChanged) && p.isGone(ctx, id):
		err = fmt.Errorf("%s: removed during the transfer: %w", p.url(manifestName(id)), objects.ErrNotFound)
	case errors.Is(err, ErrDamaged), errors.Is(err, ErrManifest),
		errors.Is(err, objects.ErrChanged), errors.Is(err, format.ErrVersion):
		p.damage = append(p.damage, err)
	default:
		return err
	}
	p.result.PassedOver = append(p.result.PassedOver, PassedOver{id, err})
	return nil
}

// isGone reports whether Prune has removed a generation.
func (p *pull) isGone(ctx context.Context, id generation.ID) bool {
	_, err := p.readManifest(ctx, id)
	return errors.Is(err, objects.ErrNotFound)
}

// fetch copies a generation unless it is here.
func (p *pull) fetch(ctx context.Context, id generation.ID) (arrived bool, err error) {
	m, err := p.readManifest(ctx, id)
	if err != nil {
		return false, err
	}
	files := m.owned(p.Digits)
	needed := slices.DeleteFunc(slices.Clone(files), p.isHere)
	if len(needed) == 0 {
		return false, nil
	}
	if len(needed) < len(files) { // one of those that are here may be damaged
		needed = slices.DeleteFunc(slices.Clone(files), p.isGood)
	}
	if len(needed) == 0 {
		return false, nil
	}
	if missing := p.have.missing(needed); len(missing) > 0 {
		return false, fmt.Errorf("%s: %w: %d of %d objects are missing or have another size, such as %s",
			p.url(manifestName(id)), generation.ErrIncomplete, len(missing), len(needed), missing[0].Name)
	}
	if err := os.MkdirAll(p.incoming, 0o755); err != nil {
		return false, err
	}
	if err := p.receive(ctx, id, needed); err != nil {
		return false, err
	}
	if err := p.verify(ctx, m, files, needed); err != nil {
		return false, err
	}
	// A generation that was rolled back during the transfer never becomes live.
	if err := p.pullPin(ctx); err != nil {
		return false, err
	}
	p.pullSummary(ctx, id)
	return true, p.publish(needed)
}

// isHere reports whether the directory has f. Like rsync, it does not read it.
func (p *pull) isHere(f File) bool {
	info, err := os.Lstat(filepath.Join(p.dir, f.Name))
	return err == nil && info.Mode().IsRegular() && info.Size() == f.Size
}

// isGood reports whether the directory has f with its checksum.
func (p *pull) isGood(f File) bool {
	r, err := fsx.OpenRegular(filepath.Join(p.dir, f.Name))
	if err != nil {
		return false
	}
	defer r.Close()
	sum, err := checksum(r)
	return err == nil && sum == f.SHA256
}

// verify checks the generation of files, of which arrived are in the incoming
// directory.
func (p *pull) verify(ctx context.Context, m Manifest, files, arrived []File) error {
	g := generation.Generation{ID: m.id, Shards: m.Shards}
	for _, f := range files {
		dir := p.dir
		if slices.Contains(arrived, f) {
			dir = p.incoming
		}
		g.Files = append(g.Files, filepath.Join(dir, f.Name))
	}
	set, err := g.OpenSet(p.Digits)
	if err == nil {
		err = set.Verify(ctx, runtime.GOMAXPROCS(0), nil)
		set.Close()
	}
	var errno syscall.Errno
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case fsx.IsTooManyOpen(err):
		return fmt.Errorf("%w; each shard needs an open file: raise the limit, ulimit -n", err)
	case errors.As(err, &errno): // of the disk here
		return err
	case errors.Is(err, format.ErrVersion):
		return fmt.Errorf("%s: %w; upgrade promobuild and promoserve on this node", p.url(manifestName(m.id)), err)
	}
	return fmt.Errorf("%s: %w: %w", p.url(manifestName(m.id)), ErrDamaged, err)
}

// publish gives files that have arrived their names, durably. If they replace
// others, the generation lacks its first file meanwhile, so that no server sees a
// mixture.
func (p *pull) publish(files []File) error {
	path := func(f File) string { return filepath.Join(p.dir, f.Name) }
	if len(files) > 1 {
		if err := os.Remove(path(files[0])); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, f := range slices.Backward(files) {
		if err := os.Rename(filepath.Join(p.incoming, f.Name), path(f)); err != nil {
			return err
		}
	}
	return fsx.SyncDir(p.dir)
}
