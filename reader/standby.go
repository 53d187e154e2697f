package reader

import (
	"context"
	"os"
	"time"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// A standby is the newest good generation that the pin holds back, opened and
// verified. When the pin moves, it becomes live at once, on all servers of a
// cluster at nearly the same moment. Its goroutine does not delay polls, which must
// react to the pin.
type standby struct {
	generation generation.Generation // as listed
	cancel     context.CancelFunc
	done       chan struct{} // closed at the end of the goroutine

	// Set by the goroutine, under Store.mu, if b is still Store.standby.
	opened *Generation // nil: not servable
	event  Event       // EventLive
}

// is reports whether b, which may be nil, was prepared from g. Its files may have
// changed since.
func (b *standby) is(g generation.Generation) bool {
	return b != nil && b.generation.ID == g.ID && b.generation.Shards == g.Shards
}

// isUsable reports whether b is being prepared, or is good according to the
// attributes of its files.
func (b *standby) isUsable() bool {
	return b.isRunning() || b.opened != nil && b.opened.isIntact()
}

// isRunning reports whether the goroutine of b has not finished.
func (b *standby) isRunning() bool {
	select {
	case <-b.done:
		return false
	default:
		return true
	}
}

// isIntact reports whether g has the files that its paths name, and none has
// changed since it was verified.
func (g *Generation) isIntact() bool {
	for _, f := range g.owned {
		info, err := os.Stat(f.path)
		if err != nil || !fsx.IdentityOf(info).SameFile(f.opened) {
			return false
		}
		now := stateOf(info)
		if !f.good.Load().unchanged(&now) {
			return false
		}
	}
	return true
}

// keepStandby prepares the newest good generation of list that d holds back, and
// drops another standby, or one that has changed.
func (s *Store) keepStandby(d desired, list []generation.Generation) {
	next := s.heldBack(d, list)
	if s.standby != nil && (next == nil || !s.standby.is(*next) || !s.standby.isUsable()) {
		s.dropStandby()
	}
	last := s.polling.lastStandby
	if next == nil || s.standby != nil || last != nil && last.isRunning() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	b := &standby{generation: *next, cancel: cancel, done: make(chan struct{})}
	s.polling.lastStandby = b
	s.mu.Lock()
	s.standby = b
	s.mu.Unlock()
	s.open.Go(func() {
		defer cancel()
		opened, e := s.prepare(ctx, b.generation, nil)
		s.mu.Lock()
		kept := s.standby == b
		if kept {
			b.opened, b.event = opened, e
		}
		s.mu.Unlock()
		switch {
		case opened == nil:
		case kept:
			e.Kind = EventVerified
			s.events.notify(e) // before EventLive
		default:
			_ = opened.close() // it was only read
		}
		close(b.done)
	})
}

// heldBack returns the generation to prepare, or nil: the newest one of list that d
// holds back and that is the usable standby or worth opening.
func (s *Store) heldBack(d desired, list []generation.Generation) *generation.Generation {
	live, now := s.liveGeneration(), time.Now()
	if live == nil || d.err != nil {
		return nil
	}
	for i := len(list) - 1; i >= 0 && live.ID().Before(list[i].ID, now); i-- {
		g := &list[i]
		if d.pin.Holds(g.ID, now) && (s.standby.is(*g) && s.standby.isUsable() || s.isWorthOpening(*g)) {
			return g
		}
	}
	return nil
}

// dropStandby ends the standby, if there is one. Its goroutine may still run for
// moments.
func (s *Store) dropStandby() {
	b := s.removeStandby()
	if b == nil {
		return
	}
	b.cancel()
	if b.opened != nil {
		_ = b.opened.close() // it was only read
	}
}

// removeStandby removes the standby and returns it. Its goroutine no longer
// changes it.
func (s *Store) removeStandby() *standby {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.standby
	s.standby = nil
	return b
}

// takeStandby returns the standby and its EventLive if it is g. It waits for the
// verification, until ctx ends, and calls progress meanwhile, to check the pin. If
// the standby is another generation, it drops that, because its verification would
// delay g, and so that there are never three generations in memory.
func (s *Store) takeStandby(ctx context.Context, g generation.Generation, progress func(done, size int64)) (*Generation, Event) {
	b := s.standby
	switch {
	case b == nil:
		return nil, Event{}
	case !b.is(g):
		s.dropStandby()
		return nil, Event{}
	}
	tick := time.NewTicker(pinInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, Event{} // the pin may change again, or another poll follows
		case <-tick.C:
			progress(0, 0)
			continue
		case <-b.done:
		}
		break
	}
	s.removeStandby()
	if b.opened == nil {
		return nil, Event{}
	}
	if !b.opened.isIntact() {
		_ = b.opened.close() // it was only read
		return nil, Event{}
	}
	return b.opened, b.event
}
