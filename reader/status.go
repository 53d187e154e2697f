package reader

import (
	"cmp"
	"slices"

	"promostore/format/generation"
)

// Status returns the state of the Store and what the last Poll found.
func (s *Store) Status() generation.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.found
	st.Pin, st.PinErr = s.desired.pin, s.desired.err
	for path, r := range s.refused {
		if !r.outdated {
			st.Refused = append(st.Refused, generation.Refused{Path: path, Err: r.reason})
		}
	}
	slices.SortFunc(st.Refused, func(a, b generation.Refused) int { return cmp.Compare(a.Path, b.Path) })
	if l := s.live.Load(); l != nil {
		st.Live, st.Deleted = l.generation.Header(), l.deleted.Load() != nil
	}
	if newest := st.Newest; newest != nil {
		isLive := st.Live != nil && generation.ID(st.Live.Generation) == *newest
		b := s.standby
		st.NewestVerified = isLive || b != nil && b.opened != nil && b.generation.ID == *newest
	}
	return st
}

// observe records what a poll found. It returns the desired generation of the
// poll before, and the generations from the future that are new.
func (s *Store) observe(d desired, list []generation.Generation) (old desired, future []generation.Generation) {
	found := s.found                   // only polls change it
	found.SetList(list, s.opts.Digits) // may read headers
	s.mu.Lock()
	defer s.mu.Unlock()
	old, s.desired, s.found = s.desired, d, found
	known := s.future
	s.future = nil
	for _, g := range generation.Future(list) {
		s.future = append(s.future, g.ID)
		if !slices.Contains(known, g.ID) {
			future = append(future, g)
		}
	}
	return old, future
}

// setDirErr records whether a poll could read the directory.
func (s *Store) setDirErr(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.DirErr = err
}

// setNone records whether a poll found no generation live and none to make live.
func (s *Store) setNone(none bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.none = none
}

// foundNone returns the value of setNone. A generation that was lost after the
// poll does not count, because its fault triggers another poll.
func (s *Store) foundNone() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.none
}

// setOpening records the generation that a poll is opening; nil: none.
func (s *Store) setOpening(id *generation.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found.Opening = id
}
