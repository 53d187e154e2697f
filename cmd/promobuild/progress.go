package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"promostore/builder"
	"promostore/internal/english"
	"promostore/internal/tasks"
)

// refresh is the time between two drawings of a bar.
const refresh = 100 * time.Millisecond

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newBar returns a bar on w that fits into a line of the terminal. total counts bytes or rows;
// it is -1 if unknown.
func newBar(w io.Writer, total int64, title string, bytes bool) *progressbar.ProgressBar {
	if f, ok := w.(*os.File); ok {
		w = &terminal{file: f}
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(title),
		progressbar.OptionSetWidth(10),
		progressbar.OptionThrottle(refresh),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish(),
	}
	if bytes {
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowCount())
	}
	return progressbar.NewOptions64(total, options...)
}

// progress shows the progress of a build: a bar on a terminal, otherwise a line
// for each phase.
type progress struct {
	w    io.Writer
	last string // verb of the last phase
	draw bool
	stop chan struct{} // ends the drawing

	mu      sync.Mutex // guards the fields below
	status  builder.Status
	started time.Time // of the phase
	bar     *progressbar.ProgressBar
}

// newProgress returns a progress that writes to w until finish. The verb of the last
// phase is publish, or sync if the files are not published.
func newProgress(w io.Writer, last string) *progress {
	p := &progress{w: w, last: last, draw: isTerminal(w), stop: make(chan struct{})}
	if p.draw {
		go p.redraw()
	}
	return p
}

// observe receives the status of the build; see builder.Options.
func (p *progress) observe(s builder.Status) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.Phase != p.status.Phase {
		p.end()
		p.started = time.Now()
		p.begin(s)
	}
	p.status = s
}

// redraw draws the bar at intervals, so that the rate is right while the input
// stalls.
func (p *progress) redraw() {
	tick := time.NewTicker(refresh)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.mu.Lock()
			p.show(p.status)
			p.mu.Unlock()
		}
	}
}

func (p *progress) show(s builder.Status) {
	if p.bar == nil {
		return
	}
	switch s.Phase {
	case builder.PhaseRead:
	case tasks.PhaseReceive:
		_ = p.bar.Set64(s.InputBytes)
		return
	default:
		_ = p.bar.Set64(s.Records)
		return
	}
	_ = p.bar.Set64(s.InputBytes) // exceeds the size if the input has grown; the bar tolerates that
	rate := float64(s.Rows) / time.Since(p.started).Seconds()
	p.bar.Describe(fmt.Sprintf("read %s rows, %s rows/s", short(float64(s.Rows)), short(rate)))
}

// short returns n with one decimal and a prefix such as M.
func short(n float64) string { return strings.TrimSpace(humanize.SIWithDigits(n, 1, "")) }

func (p *progress) begin(s builder.Status) {
	var line string
	total, bytes := s.Rows, false
	switch s.Phase {
	case builder.PhaseRead:
		line, total, bytes = "read the input", -1, true
		if s.InputSize > 0 {
			line, total = fmt.Sprintf("read %s of input", humanize.IBytes(uint64(s.InputSize))), s.InputSize
		}
	case tasks.PhaseReceive:
		line, total, bytes = "receive "+humanize.IBytes(uint64(s.InputSize)), s.InputSize, true
	case builder.PhaseCompare:
		line, total = "compare with the live generation", -1
	case builder.PhasePublish:
		line, total = p.last+" "+english.Count(s.Records, "record"), -1
	default:
		line = fmt.Sprintf("%s %s", s.Phase, english.Count(s.Rows, "row"))
	}
	if p.draw {
		p.bar = newBar(p.w, total, line, bytes)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// finish removes the bar and ends the drawing.
func (p *progress) finish() {
	close(p.stop)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// end removes the bar of a phase.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
