package builder

import "sync"

// A turnstile lets workers that take numbered pieces of work pass one point in
// the order of the numbers.
type turnstile struct {
	mu     sync.Mutex
	cond   sync.Cond
	next   int64
	broken bool
}

func newTurnstile() *turnstile {
	t := &turnstile{}
	t.cond.L = &t.mu
	return t
}

// wait returns true when it is n's turn, false when the turnstile is broken.
func (t *turnstile) wait(n int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.next != n && !t.broken {
		t.cond.Wait()
	}
	return !t.broken
}

// done ends the turn.
func (t *turnstile) done() {
	t.mu.Lock()
	t.next++
	t.mu.Unlock()
	t.cond.Broadcast()
}

// breakOff lets everybody who waits go.
func (t *turnstile) breakOff() {
	t.mu.Lock()
	t.broken = true
	t.mu.Unlock()
	t.cond.Broadcast()
}
