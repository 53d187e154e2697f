package reader

import (
	"errors"
	"time"
)

// ErrBusy reports that a lookup needed a read of the disk, but all reads that
// are allowed at a time were under way for queueTime. The lookup may succeed
// later.
var ErrBusy = errors.New("too many reads of the disk are waiting")

const (
	// queueTime bounds the wait for a turn to read.
	queueTime = time.Second

	// maxReads bounds the ordinary reads that are under way in the process, as
	// each occupies a thread. A thousand would exhaust the limits of containers.
	maxReads = 128

	// maxCachedReads bounds the additional reads of pages in memory while the
	// disk occupies all of maxReads.
	maxCachedReads = 32
)

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
