package updater

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"promostore/builder"
	"promostore/format/generation"
)

// maxDone is how many of the builds that are done are remembered.
const maxDone = 20

// Where a table comes from.
const (
	sourceUpload = "upload"
	sourceInbox  = "inbox"
)

// A running build, as the status shows it.
type running struct {
	Source  string        `json:"source"`
	Name    string        `json:"name"` // of the client or of the file
	Since   time.Time     `json:"since"`
	Phase   builder.Phase `json:"phase"`
	Rows    int64         `json:"rows"`    // read
	Records int64         `json:"records"` // written
	Bytes   int64         `json:"bytes"`   // read
	Size    int64         `json:"size"`    // of the input; 0 if unknown
	Percent float64       `json:"percent"` // of the whole build; 0 if unknown
}

// left estimates how long the build still takes; 0 if that is unknown.
func (r running) left(now time.Time) time.Duration {
	if r.Percent < 1 {
		return 0
	}
	return time.Duration(float64(now.Sub(r.Since)) * (100 - r.Percent) / r.Percent)
}

// Results of builds.
const (
	resultPublished   = "published"
	resultBadRows     = "bad_rows"
	resultRefused     = "refused"
	resultNoSpace     = "no_space"
	resultInterrupted = "interrupted"
	resultFailed      = "failed"
)

var results = []string{resultPublished, resultBadRows, resultRefused, resultNoSpace, resultInterrupted, resultFailed}

// A done build, as the status shows it. It holds no rows: the status is open
// to everybody.
type done struct {
	Source  string           `json:"source"`
	Name    string           `json:"name"`
	Since   time.Time        `json:"since"`
	Until   time.Time        `json:"until"`
	Result  string           `json:"result"`
	Error   string           `json:"error,omitempty"`
	Summary *builder.Summary `json:"summary,omitempty"`
	Pruned  []string         `json:"pruned,omitempty"` // generations
	Pinned  string           `json:"pinned,omitempty"` // the generation that servers go on serving
	Hook    *hookResult      `json:"hook,omitempty"`
}

// errBusy says that another build runs; errClosed that there are no more.
var (
	errBusy   = errors.New("another build is running")
	errClosed = errors.New("the updater is stopping")
)

// A workshop has room for one build. Safe for concurrent use.
type workshop struct {
	turn    chan struct{} // has an element while a build runs
	closing chan struct{}
	emptied sync.Once

	mu      sync.Mutex // guards what follows
	closed  bool
	current *running
	history []*done // oldest first
}

func newWorkshop() *workshop {
	return &workshop{turn: make(chan struct{}, 1), closing: make(chan struct{})}
}

// tryEnter takes the turn or says that there is none.
func (w *workshop) tryEnter() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return errClosed
	}
	select {
	case w.turn <- struct{}{}:
		return nil
	default:
		return errBusy
	}
}

// enter waits for the turn.
func (w *workshop) enter() error {
	select {
	case <-w.closing:
		return errClosed
	default:
	}
	select {
	case w.turn <- struct{}{}:
		return nil
	case <-w.closing:
		return errClosed
	}
}

func (w *workshop) leave() { <-w.turn }

// close lets nobody enter any more.
func (w *workshop) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.closed = true
		close(w.closing)
	}
}

// wait returns when the last build is done. To be called after close.
func (w *workshop) wait() {
	w.emptied.Do(func() { w.turn <- struct{}{} }) // and nobody takes it out
}

// progress is the build that runs, if one does.
func (w *workshop) progress() (running, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil {
		return running{}, false
	}
	return *w.current, true
}

// done is what was built last, newest first.
func (w *workshop) done() []done {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := []done{}
	for _, d := range slices.Backward(w.history) {
		list = append(list, *d)
	}
	return list
}

func (w *workshop) begin(r running) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = &r
}

func (w *workshop) observe(s builder.Status) {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.current
	r.Phase, r.Rows, r.Records, r.Bytes, r.Size = s.Phase, s.Rows, s.Records, s.InputBytes, s.InputSize
	r.Percent = percentOf(s)
}

// percentOf reckons with as much time for reading as for the rest.
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

// end remembers the build, unless d is nil.
func (w *workshop) end(d *done) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = nil
	if d == nil {
		return
	}
	w.history = append(w.history, d)
	w.history = w.history[max(0, len(w.history)-maxDone):]
}

// hooked says what became of the command after d.
func (w *workshop) hooked(d *done, r hookResult) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d.Hook = &r
}

// build makes a generation of in. The caller has the turn. It ends when ctx
// does, or the server.
func (s *Server) build(ctx context.Context, source, name string, in builder.Input, publishing func(generation.ID) error) (*done, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(context.Cause(s.ctx)) })()

	d := &done{Source: source, Name: name, Since: time.Now()}
	log := s.log.With("source", source, "name", name)
	log.Debug("build begins")
	s.work.begin(running{Source: source, Name: name, Since: d.Since, Size: in.Size})
	opts := s.opts.Build
	opts.Inputs = []builder.Input{in}
	opts.Observe = s.work.observe
	opts.Publishing = publishing
	summary, err := builder.Build(ctx, opts)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, generation.ErrLocked) {
		// Another process builds, so that this was no build at all.
		log.Debug("another process builds", "error", err)
		s.work.end(nil)
		return nil, err
	}
	if err == nil {
		d.Summary = &summary
		s.figures.published(summary)
		d.Pruned = s.prune(summary)
		log.Info("generation published", "generation", summary.Generation, "records", summary.Records, "seconds", summary.Seconds)
		if pin, err := generation.ReadPin(s.opts.Build.Dir); err != nil {
			log.Error("servers stay with what they have", "error", err)
		} else if pin.Active {
			d.Pinned = pin.ID.String()
			log.Warn("servers stay with the pinned generation", "pinned", d.Pinned, "by", pin.By, "reason", pin.Reason, "at", pin.At)
		}
	}
	d.Until = time.Now()
	d.Result = resultOf(err)
	if err != nil {
		d.Error = brief(err)
		log.Error("nothing published", "result", d.Result, "error", d.Error)
	}
	s.figures.built(d.Result)
	s.work.end(d)
	if err == nil && s.hooks != nil {
		s.hooks.add(d)
	}
	return d, err
}
