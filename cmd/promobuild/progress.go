package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"promostore/builder"
)

// refresh is how often a bar is drawn.
const refresh = 100 * time.Millisecond

// isTerminal reports whether somebody looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newBar draws on w, in less than 80 columns. total is -1 if it is not known,
// and counts bytes or rows.
func newBar(w io.Writer, total int64, what string, bytes bool) *progressbar.ProgressBar {
	options := []progressbar.Option{
		progressbar.OptionSetWriter(w),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetWidth(10),
		progressbar.OptionThrottle(refresh),
		progressbar.OptionSetRenderBlankState(true),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionClearOnFinish(),
	}
	if bytes {
		options = append(options, progressbar.OptionShowBytes(true), progressbar.OptionShowCount())
	}
	return progressbar.NewOptions64(total, options...)
}

// progress shows how a build is going: a bar on a terminal, else a line for
// each phase.
type progress struct {
	w    io.Writer
	draw bool
	stop chan struct{} // ends the drawing

	mu      sync.Mutex // guards what follows
	status  builder.Status
	started time.Time // of the phase
	bar     *progressbar.ProgressBar
}

// newProgress shows on w until finish.
func newProgress(w io.Writer) *progress {
	p := &progress{w: w, draw: isTerminal(w), stop: make(chan struct{})}
	if p.draw {
		go p.redraw()
	}
	return p
}

// observe is the Observe of builder.Options.
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

// redraw draws by the clock, so that what is shown is right while the input
// has stalled, too.
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
	if s.Phase != builder.PhaseRead {
		_ = p.bar.Set64(s.Records)
		return
	}
	_ = p.bar.Set64(s.InputBytes) // more than its size if it has grown: a bar need not be right
	rate := float64(s.Rows) / time.Since(p.started).Seconds()
	p.bar.Describe(fmt.Sprintf("read %srows, %srows/s", humanize.SIWithDigits(float64(s.Rows), 1, ""), humanize.SIWithDigits(rate, 1, "")))
}

func (p *progress) begin(s builder.Status) {
	var line string
	total, bytes := s.Rows, false
	switch s.Phase {
	case builder.PhaseRead:
		line, total, bytes = "read the input", -1, true
		if s.InputSize > 0 {
			line, total = fmt.Sprintf("read %s of input", humanize.Bytes(uint64(s.InputSize))), s.InputSize
		}
	case builder.PhasePublish:
		line, total = "publish "+count(s.Records, "record"), -1
	default:
		line = fmt.Sprintf("%s %s", s.Phase, count(s.Rows, "row"))
	}
	if p.draw {
		p.bar = newBar(p.w, total, line, bytes)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// finish takes the bar away for good.
func (p *progress) finish() {
	close(p.stop)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
}

// end takes the bar of a phase away.
func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
		p.bar = nil
	}
}
