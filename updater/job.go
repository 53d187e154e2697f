package updater

import (
	"math"
	"slices"
	"sync"
	"time"

	"promostore/builder"
	"promostore/format/generation"
)

// Sources of data sets.
const (
	sourceUpload = string(generation.SourceUpload)
	sourceInbox  = string(generation.SourceInbox)
)

// A job is one data set to build.
type job struct {
	source string // sourceUpload or sourceInbox
	name   string // the client's address or the file's name
	upload string // ID; empty: from the inbox
	input  builder.Input

	// publishing is called when the generation is complete, before its file
	// becomes visible. An error keeps it from being published. May be nil.
	publishing func(generation.ID) error

	// failed is called if the build fails. The build fails with its error
	// instead, if it returns one. May be nil.
	failed func() error
}

// progress describes the running build in GET /status.
type progress struct {
	Source  string        `json:"source"`
	Name    string        `json:"name"`             // the client's address or the file's name
	Upload  string        `json:"upload,omitempty"` // ID
	Since   time.Time     `json:"since"`
	Phase   builder.Phase `json:"phase"`
	Rows    int64         `json:"rows"`    // read
	Records int64         `json:"records"` // written
	Bytes   int64         `json:"bytes"`   // read
	Size    int64         `json:"size"`    // bytes of the input; 0 if unknown
	Percent float64       `json:"percent"` // of the whole build, to one decimal; 0 if unknown
}

// remaining estimates the time to the end of the build; 0 if unknown.
func (p progress) remaining(now time.Time) time.Duration {
	if p.Percent < 1 {
		return 0
	}
	return time.Duration(float64(now.Sub(p.Since)) * (100 - p.Percent) / p.Percent)
}

// percentOf estimates the completed part of a build. Reading counts as half of
// the time, and everything after it as the other half.
func percentOf(s builder.Status) float64 {
	switch {
	case s.Phase == builder.PhasePublish:
		return 99
	case s.Phase != builder.PhaseRead && s.Rows > 0:
		return 50 + min(49, 49*float64(s.Records)/float64(s.Rows))
	case s.InputSize > 0:
		return min(50, 50*float64(s.InputBytes)/float64(s.InputSize))
	}
	return 0
}

// Outcomes of builds, as /status and the metrics name them.
const (
	outcomePublished   = "published"
	outcomeBadRows     = "bad_rows"
	outcomeRefused     = "refused"
	outcomeNoSpace     = "no_space"
	outcomeInterrupted = "interrupted"
	outcomeChanged     = "changed"
	outcomeFailed      = "failed"
)

var outcomes = []string{outcomePublished, outcomeBadRows, outcomeRefused, outcomeNoSpace, outcomeInterrupted, outcomeChanged, outcomeFailed}

// A result describes a finished build in GET /status. There it contains no row of a
// data set that was not published.
type result struct {
	Source     string              `json:"source"`
	Name       string              `json:"name"`
	Upload     string              `json:"upload,omitempty"` // ID
	Since      time.Time           `json:"since"`
	Until      time.Time           `json:"until"`
	Outcome    string              `json:"result"`
	Error      string              `json:"error,omitempty"`
	Summary    *builder.Summary    `json:"summary,omitempty"`
	Comparison *builder.Comparison `json:"comparison,omitempty"` // with the live generation; nil: none was made
	Pruned     []string            `json:"pruned,omitempty"`     // generations
	Pinned     string              `json:"pinned,omitempty"`     // the pinned generation, which servers keep serving
	Hook       *hookResult         `json:"hook,omitempty"`       // set when the command has ended

	bad *builder.BadRowsError // why nothing was published, for the page; may be nil
}

// maxResults is the number of results that a buildLog keeps.
const maxResults = 20

// A buildLog holds the progress of the running build and the latest results.
// Safe for concurrent use.
type buildLog struct {
	mu      sync.Mutex // guards all fields, and Hook of every result
	running *progress  // nil: none
	results []*result  // oldest first
}

// begin records that a build of j started.
func (l *buildLog) begin(j job, since time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = &progress{Source: j.source, Name: j.name, Upload: j.upload, Since: since, Size: j.input.Size}
}

// observe updates the progress of the running build.
func (l *buildLog) observe(s builder.Status) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.running
	p.Phase, p.Rows, p.Records, p.Bytes, p.Size = s.Phase, s.Rows, s.Records, s.InputBytes, s.InputSize
	p.Percent = math.Round(10*percentOf(s)) / 10
}

// end records the result of the running build. A nil result is not recorded.
func (l *buildLog) end(r *result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running = nil
	if r == nil {
		return
	}
	l.results = append(l.results, r)
	l.results = l.results[max(0, len(l.results)-maxResults):]
}

// setHook adds the result of the command to r.
func (l *buildLog) setHook(r *result, hook hookResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r.Hook = &hook
}

// current returns the progress of the running build, if there is one.
func (l *buildLog) current() (progress, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.running == nil {
		return progress{}, false
	}
	return *l.running, true
}

// latest returns the latest results, newest first.
func (l *buildLog) latest() []result {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []result{}
	for _, r := range slices.Backward(l.results) {
		list = append(list, *r)
	}
	return list
}
