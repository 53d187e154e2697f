package web

import (
	"math"
	"path/filepath"
	"time"

	"promostore/format"
	"promostore/format/generation"
)

// A Status is the JSON body of GET /status of both programs; the updater adds its
// own parts. Without Details it is for every client: it names no file, person or
// client.
type Status struct {
	Version    string     `json:"version"`
	Uptime     float64    `json:"uptime"`                     // seconds
	Live       *string    `json:"live"`                       // generation; null: none
	Pinned     *string    `json:"pinned"`                     // generation; null: the newest servable one is served
	Newest     *string    `json:"newest"`                     // generation in the directory, servable or not; null: none
	Missing    []int      `json:"missing_shards"`             // of the newest generation; the program needs them
	Verified   bool       `json:"newest_verified"`            // the newest generation can become live at once, or is live
	Refused    int        `json:"refused"`                    // number of files
	Records    *uint64    `json:"records"`                    // of the live generation; null: none
	Bytes      *int64     `json:"bytes"`                      // of its files
	Shards     *uint32    `json:"shards"`                     // into which it is divided
	ShardBy    string     `json:"shard_by,omitempty"`         // its sharding rule: last or first
	Digits     string     `json:"digits,omitempty"`           // of the ids that a server serves, if the generation is divided
	Age        *float64   `json:"age"`                        // seconds since it was created; 0 if it is ahead of the clock
	Swaps      uint64     `json:"swaps"`                      // generations that became live since the start
	Future     []Future   `json:"future"`                     // generations ahead of the clock
	UntilNewer *string    `json:"until_newer_than,omitempty"` // a servable generation newer than this one releases the pin
	HeldBack   *time.Time `json:"held_back_since,omitempty"`  // by the pin: a newer servable generation
	Deleted    bool       `json:"deleted,omitempty"`          // the directory no longer has a file of the live generation
	Problem    string     `json:"problem,omitempty"`          // why no generation is live, or why new ones are not found
	*Details
}

// A Future names a generation ahead of the clock.
type Future struct {
	Generation string  `json:"generation"`
	Ahead      float64 `json:"ahead"` // seconds
}

// Details are the parts of a Status for operators.
type Details struct {
	By       string     `json:"by,omitempty"`        // author of the pin, or of its removal; none if it was released
	Reason   string     `json:"reason,omitempty"`    // of the author
	At       *time.Time `json:"at,omitempty"`        // time of the pin, or of its removal
	PinError string     `json:"pin_error,omitempty"` // why the pin cannot be read

	RefusedFiles []RefusedFile `json:"refused_files"`
}

// A RefusedFile is a generation file that is not served, and the reason.
type RefusedFile struct {
	File  string `json:"file"`
	Error string `json:"error"`
}

// NewStatus returns the full status of a program that started at that time. The
// caller sets Swaps, and a server Digits.
func NewStatus(version string, started time.Time, s *generation.Status) Status {
	now := time.Now()
	st := Status{
		Version:  version,
		Uptime:   seconds(now.Sub(started)),
		Newest:   idText(s.Newest),
		Missing:  append([]int{}, s.Missing...), // never null
		Verified: s.NewestVerified,
		Refused:  len(s.Refused),
		Future:   []Future{},
		Deleted:  s.Deleted,
		Details:  &Details{RefusedFiles: []RefusedFile{}},
	}
	if h := s.Live; h != nil {
		id := generation.ID(h.Generation)
		age := seconds(id.Age(now))
		st.Live, st.Records, st.Bytes, st.Shards, st.Age = idText(&id), &h.Records, &h.FileLen, &h.Shards, &age
		if h.Rule != format.ShardNone {
			st.ShardBy = h.Rule.String()
		}
	}
	if st.Pinned = idText(s.Pinned()); st.Pinned != nil && s.Pin.UntilNewer {
		st.UntilNewer = idText(&s.Pin.Newest)
	}
	if !s.Held.IsZero() {
		st.HeldBack = &s.Held
	}
	for _, g := range s.Ahead {
		if ahead := g.ID.Ahead(now); ahead > 0 {
			st.Future = append(st.Future, Future{g.ID.String(), seconds(ahead)})
		}
	}
	if err := s.Problem(); err != nil {
		st.Problem = err.Error()
	}
	if s.PinErr != nil {
		st.PinError = s.PinErr.Error()
	} else if s.Pin.Active == (st.Pinned != nil) { // not of a pin that was released
		st.By, st.Reason = s.Pin.By, s.Pin.Reason
		if !s.Pin.At.IsZero() {
			st.At = &s.Pin.At
		}
	}
	for _, r := range s.Refused {
		st.RefusedFiles = append(st.RefusedFiles, RefusedFile{filepath.Base(r.Path), r.Err.Error()})
	}
	return st
}

// Public returns s without Details.
func (s Status) Public() Status {
	s.Details = nil
	return s
}

// seconds returns d in seconds, with milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }

func idText(id *generation.ID) *string {
	if id == nil {
		return nil
	}
	text := id.String()
	return &text
}
