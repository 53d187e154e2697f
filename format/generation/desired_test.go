package generation_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"promostore/format/generation"
)

// TestPinOrdersGenerations checks the order of the generations 1 to 5 and of one
// from the future, and which of them are preferred to the live one.
func TestPinOrdersGenerations(t *testing.T) {
	future := generation.IDOf(time.Now().Add(48 * time.Hour))
	ids := []generation.ID{future, 1, 2, 3, 4, 5} // in the order of List
	var list []generation.Generation
	for _, id := range ids {
		list = append(list, generation.Generation{ID: id})
	}
	idsOf := func(list []generation.Generation) (ids []generation.ID) {
		for _, g := range list {
			ids = append(ids, g.ID)
		}
		return ids
	}
	type is = []generation.ID
	plain := generation.Pin{Active: true, ID: 2}
	until := func(newest generation.ID) generation.Pin {
		return generation.Pin{Active: true, ID: 2, UntilNewer: true, Newest: newest}
	}
	for _, c := range []struct {
		name       string
		pin        generation.Pin
		candidates is
		live       generation.ID
		preferred  is
	}{
		{"no pin", generation.Pin{}, is{5, 4, 3, 2, 1, future}, 3, is{5, 4}},
		{"no pin, live from the future", generation.Pin{}, is{5, 4, 3, 2, 1, future}, future, is{5, 4, 3, 2, 1}},
		{"pinned", plain, is{2, 5, 4, 3, 1, future}, 2, nil},
		{"another is live", plain, is{2, 5, 4, 3, 1, future}, 4, is{2}},
		{"the pinned one is missing", generation.Pin{Active: true, ID: 9}, is{5, 4, 3, 2, 1, future}, 3, nil},
		{"the missing one is live", generation.Pin{Active: true, ID: 9}, is{5, 4, 3, 2, 1, future}, 9, nil},
		{"until newer", until(5), is{2, 5, 4, 3, 1, future}, 2, nil},
		{"a newer one has arrived", until(3), is{5, 4, 2, 3, 1, future}, 2, is{5, 4}},
		{"the rolled back one is live", until(3), is{5, 4, 2, 3, 1, future}, 3, is{5, 4, 2}},
		{"released", until(3), is{5, 4, 2, 3, 1, future}, 4, is{5}},
		{"released by the newest", until(3), is{5, 4, 2, 3, 1, future}, 5, nil},
		{"only a newer one from the future", until(5), is{2, 5, 4, 3, 1, future}, 5, is{2}},
	} {
		if got := idsOf(c.pin.Candidates(list)); !slices.Equal(got, c.candidates) {
			t.Errorf("%s: candidates %v, want %v", c.name, got, c.candidates)
		}
		if got := idsOf(c.pin.Preferred(list, c.live)); !slices.Equal(got, c.preferred) {
			t.Errorf("%s: preferred to %s: %v, want %v", c.name, c.live, got, c.preferred)
		}
	}
}

// TestHeldSince checks since when a pin holds back a newer servable generation:
// since the pin, or since the generation if that is newer than the pin.
func TestHeldSince(t *testing.T) {
	const minute = generation.ID(time.Minute / time.Millisecond)
	var list []generation.Generation
	for id := range generation.ID(4) {
		list = append(list, generation.Generation{ID: (id + 1) * minute})
	}
	bad := func(ids ...generation.ID) func(generation.Generation) error {
		return func(g generation.Generation) error {
			if slices.Contains(ids, g.ID/minute) {
				return errors.New("bad")
			}
			return nil
		}
	}
	pin := generation.Pin{Active: true, ID: minute, At: (2*minute + 5).Time()}
	until := pin
	until.UntilNewer, until.Newest = true, 3*minute
	for _, c := range []struct {
		name string
		pin  generation.Pin
		live generation.ID
		bad  []generation.ID
		want time.Time
	}{
		{"no pin", generation.Pin{}, 4, nil, time.Time{}},
		{"since the pin", pin, 1, nil, pin.At},
		{"since the generation", pin, 1, []generation.ID{2}, (3 * minute).Time()},
		{"only bad ones are newer", pin, 1, []generation.ID{2, 3, 4}, time.Time{}},
		{"the newest is live", pin, 4, nil, time.Time{}},
		{"until newer", until, 1, []generation.ID{4}, pin.At},
		{"released", until, 4, nil, time.Time{}},
		{"only the one that is to be live is newer", until, 3, nil, time.Time{}},
	} {
		if got := c.pin.HeldSince(list, c.live*minute, bad(c.bad...)); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}
