package httpd

import (
	"context"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"
)

// An admission bounds all lookups together: the processors and the memory that
// they use. A lookup that meets a limit waits for at most wait.
type admission struct {
	running *semaphore.Weighted // lookups being parsed and looked up
	memory  *semaphore.Weighted // bytes of long bodies and of unsent answers
	waiting *semaphore.Weighted // lookups that wait for memory
	wait    time.Duration

	buffers bufferPool
}

// newAdmission returns the limits for a server that may use total bytes of
// memory.
func newAdmission(total int64) admission {
	return admission{
		running: semaphore.NewWeighted(int64(lookupsPerProc * runtime.GOMAXPROCS(0))),
		memory:  semaphore.NewWeighted(lookupMemory(total)),
		waiting: semaphore.NewWeighted(maxWaiting),
		wait:    lookupWait,
		buffers: newBufferPool(),
	}
}

// start acquires the right to run. It reports false if the wait took too long.
func (a *admission) start() bool { return a.acquire(a.running, 1) }

// reserve acquires n bytes of memory. It reports false if the wait took too long
// or too many others wait.
func (a *admission) reserve(n int) bool {
	if a.memory.TryAcquire(int64(n)) {
		return true
	}
	// The kernel holds the rest of the body during the wait.
	if !a.waiting.TryAcquire(1) {
		return false
	}
	defer a.waiting.Release(1)
	return a.acquire(a.memory, n)
}

func (a *admission) acquire(limit *semaphore.Weighted, n int) bool {
	if limit.TryAcquire(int64(n)) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.wait)
	defer cancel()
	return limit.Acquire(ctx, int64(n)) == nil
}

// free returns n bytes of memory.
func (a *admission) free(n int) { a.memory.Release(int64(n)) }
