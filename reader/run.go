package reader

import (
	"context"
	"time"
)

// Run polls until ctx ends: at once, every interval, when trigger receives a
// value, and after a fault. trigger may be nil.
func (s *Store) Run(ctx context.Context, interval time.Duration, trigger <-chan struct{}) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var reported runReports
	for {
		err := s.Poll(ctx)
		if ctx.Err() != nil {
			return
		}
		s.reportRun(&reported, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.faulted:
		case _, ok := <-trigger:
			if !ok {
				trigger = nil
			}
		}
	}
}

// runReports holds the texts of the last events of Run; empty: none.
type runReports struct{ dir, none string }

// reportRun reports whether the directory can be read, and why no generation is
// live, if that has changed. err is the result of Poll.
func (s *Store) reportRun(reported *runReports, err error) {
	st := s.Status()
	if err == nil && st.Live != nil {
		err = st.DirErr // a missing directory is no error of Poll; without a live generation, EventNone names it
	}
	switch {
	case err != nil && err.Error() != reported.dir:
		reported.dir = err.Error()
		s.events.notify(Event{Kind: EventDirUnreadable, Path: s.dir, Err: err})
	case err == nil && st.DirErr == nil && reported.dir != "":
		reported.dir = ""
		s.events.notify(Event{Kind: EventDirReadable, Path: s.dir})
	}
	switch {
	case st.Live != nil:
		reported.none = ""
	case s.foundNone():
		if err := st.Problem(); reasonOf(err) != reported.none {
			reported.none = reasonOf(err)
			s.events.notify(Event{Kind: EventNone, Path: s.dir, Err: err})
		}
	}
}
