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
	memory  *semaphore.Weighted // bytes
	wait    time.Duration
}

func newAdmission() admission {
	return admission{
		running: semaphore.NewWeighted(int64(lookupsPerProc * runtime.GOMAXPROCS(0))),
		memory:  semaphore.NewWeighted(lookupMemory),
		wait:    lookupWait,
	}
}

// acquire acquires n of limit. It reports false if the wait took too long.
func (a *admission) acquire(limit *semaphore.Weighted, n int) bool {
	if limit.TryAcquire(int64(n)) {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), a.wait)
	defer cancel()
	return limit.Acquire(ctx, int64(n)) == nil
}
