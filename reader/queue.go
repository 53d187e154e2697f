package reader

import (
	"errors"
	"sync/atomic"
	"time"
)

// ErrBusy reports that a lookup needed a read of the disk, but all reads that
// are allowed at a time were under way for queueTime. The lookup may succeed
// later.
var ErrBusy = errors.New("too many reads of the disk are waiting")

const (
	// queueTime bounds the wait for a turn to read.
	queueTime = time.Second

	// maxUnqueued bounds the reads that are under way in the process without a
	// turn. A ring has a slot for each.
	maxUnqueued = numLanes * laneLen
	numLanes    = 16
	laneLen     = 4

	// maxReads bounds the ordinary reads that are under way in the process and
	// had to wait for a turn, as each occupies a thread. A thousand would exhaust
	// the limits of containers.
	maxReads = 64

	// maxCachedReads bounds the additional ordinary reads of pages in memory,
	// which do not wait for those of the disk.
	maxCachedReads = 32
)

// A lane admits laneLen reads without a turn. It has two cache lines to itself,
// because every lookup writes it: with one counter for all, two processors took
// 30 ns longer for a lookup.
type lane struct {
	n atomic.Int32 // reads under way, or about to be turned away
	_ [124]byte
}

var lanes [numLanes]lane

// tryEnter admits a read unless the lane is full.
func (l *lane) tryEnter() bool {
	if l.n.Add(1) <= laneLen {
		return true
	}
	l.n.Add(-1)
	return false
}

// leave ends a read that was admitted.
func (l *lane) leave() { l.n.Add(-1) }

// The queues of the process, because its threads are limited together.
var (
	reads       = newQueue(maxReads)
	cachedReads = newQueue(maxCachedReads)
)

// A queue admits a number of reads at a time. Later ones wait in order.
type queue struct {
	slots chan struct{} // one value for each read under way
}

func newQueue(n int) *queue { return &queue{make(chan struct{}, n)} }

// tryAcquire admits a read if that need not wait.
func (q *queue) tryAcquire() bool {
	select {
	case q.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

// acquire waits until a read is admitted, but not longer than queueTime.
func (q *queue) acquire() bool {
	if q.tryAcquire() {
		return true
	}
	timer := time.NewTimer(queueTime)
	defer timer.Stop()
	select {
	case q.slots <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// release ends a read that was admitted.
func (q *queue) release() { <-q.slots }
