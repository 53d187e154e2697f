package generation

import "time"

// ReleasedBy reports whether p is a pin UntilNewer that generation id releases, if
// id is servable.
func (p Pin) ReleasedBy(id ID, now time.Time) bool {
	return p.Active && p.UntilNewer && !id.IsFuture(now) && p.Newest.Before(id, now)
}

// Holds reports whether p keeps servers from generation id.
func (p Pin) Holds(id ID, now time.Time) bool {
	return p.Active && id != p.ID && !p.ReleasedBy(id, now)
}

// Candidates returns list, which is in ascending order, in the order in which a
// server without a live generation tries it: those that p does not hold and then
// the others, each part newest first.
func (p Pin) Candidates(list []Generation) []Generation {
	var free, held []Generation
	now := time.Now()
	for i := len(list) - 1; i >= 0; i-- {
		if g := list[i]; p.Holds(g.ID, now) {
			held = append(held, g)
		} else {
			free = append(free, g)
		}
	}
	return append(free, held...)
}

// Preferred returns the generations of list that are preferable to the live
// generation, in the order of Candidates.
func (p Pin) Preferred(list []Generation, live ID) []Generation {
	order, now := p.Candidates(list), time.Now()
	held := p.Holds(live, now)
	for i, g := range order {
		if p.Holds(g.ID, now) || !held && !live.Before(g.ID, now) {
			return order[:i]
		}
	}
	return order
}

// HeldSince returns the time since when p keeps servers that serve live from a
// newer generation of list that passes check; the zero time if it does not. check
// reports why a generation is not servable.
func (p Pin) HeldSince(list []Generation, live ID, check func(Generation) error) time.Time {
	now := time.Now()
	if !p.Active || p.ReleasedBy(live, now) {
		return time.Time{}
	}
	for _, g := range list { // oldest first
		if g.ID.IsFuture(now) || !live.Before(g.ID, now) || !p.Holds(g.ID, now) || check(g) != nil {
			continue
		}
		if created := g.ID.Time(); created.After(p.At) {
			return created
		}
		return p.At
	}
	return time.Time{}
}
