package builder

import (
	"sync"
	"time"
)

// A progress reports the status of a build and measures its phases. It is safe
// for concurrent use.
type progress struct {
	observe func(Status) // may be nil

	mu      sync.Mutex // guards the fields after it; held during observe
	status  Status
	started time.Time // of the phase
	phases  map[Phase]float64
}

// begin starts a phase.
func (p *progress) begin(phase Phase) {
	p.end()
	p.update(func(s *Status) { s.Phase = phase })
}

// end ends the current phase, if there is one. It returns the seconds of all
// phases.
func (p *progress) end() map[Phase]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.status.Phase != "" {
		if p.phases == nil {
			p.phases = map[Phase]float64{}
		}
		p.phases[p.status.Phase] = now.Sub(p.started).Seconds()
	}
	p.started = now
	return p.phases
}

// update changes the status and reports it.
func (p *progress) update(change func(*Status)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.status)
	if p.observe != nil {
		p.observe(p.status)
	}
}
