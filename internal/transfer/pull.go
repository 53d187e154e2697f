package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"promostore/format/generation"
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

	// Finished means that dir has the pin and all generations that could be copied.
	// An error is then about those that were passed over.
	Finished bool
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
	result   Pulled

	// Of the current round.
	pin    generation.Pin // at its start
	have   contents
	damage []error

	pinMu sync.Mutex // serializes pullPin, and guards result.Pin
}

// run pulls again after the pin has moved to a generation that is not here: its
// transfer must not wait for that of another one.
func (p *pull) run(ctx context.Context) error {
	for {
		roundCtx, cancel := context.WithCancelCause(ctx)
		err := p.round(roundCtx, cancel)
		moved := errors.Is(context.Cause(roundCtx), errPinMoved)
		cancel(nil)
		if !moved || ctx.Err() != nil {
			return err
		}
	}
}

func (p *pull) round(ctx context.Context, cancel context.CancelCauseFunc) (err error) {
	p.result.Wanted, p.result.PassedOver, p.damage = nil, nil, nil
	// A rollback must not wait for the transfer of a generation.
	if err := p.pullPin(ctx); err != nil {
		return err
	}
	if p.pin, err = generation.ReadPin(p.dir); err != nil {
		return err
	}
	stop := p.followPin(ctx, cancel)
	defer stop()
	if p.have, err = p.list(ctx); err != nil {
		return err
	}
	list, err := generation.List(p.dir)
	if err != nil {
		return err
	}
	pinned := p.wants(p.pin, list) && slices.Contains(p.have.manifests, p.pin.ID)
	own := p.own(list)
	order := newestFirst(slices.Concat(p.have.manifests, own))
	if err := p.sweep(order); err != nil {
		return err
	}
	if pinned { // servers wait for it
		if err := p.try(ctx, p.pin.ID); err != nil {
			return err
		}
	}
	for kept := 0; len(order) > 0 && kept < p.Keep; order = order[1:] {
		switch id := order[0]; {
		case slices.Contains(own, id):
			p.result.Wanted = append(p.result.Wanted, id)
		case !pinned || id != p.pin.ID:
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
	if p.pinMoved() {
		cancel(errPinMoved)
		return errPinMoved
	}
	p.result.Finished = true
	if err := errors.Join(p.damage...); err != nil {
		return err
	}
	isThere := func(id generation.ID) bool { return slices.Contains(p.have.manifests, id) }
	if !slices.ContainsFunc(p.result.Wanted, isThere) && !slices.ContainsFunc(order, isThere) {
		return fmt.Errorf("%s: %w", p.Location, ErrNone)
	}
	return os.RemoveAll(p.incoming) // has only files of generations that are gone
}

// own returns the generations of the directory that l does not have. They count as
// kept ones, or else each pull would copy older ones that the caller removes again.
// Their blocks are not read.
func (p *pull) own(list []generation.Generation) (ids []generation.ID) {
	for _, g := range list[len(generation.Future(list)):] {
		if slices.Contains(p.have.manifests, g.ID) || len(g.MissingOf(p.Digits)) > 0 {
			continue
		}
		if set, err := g.OpenSet(p.Digits); err == nil {
			set.Close()
			ids = append(ids, g.ID)
		}
	}
	return slices.Compact(ids)
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
