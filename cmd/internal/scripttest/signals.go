package scripttest

import (
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// DefaultSIGHUP gives SIGHUP its default action in processes that the test starts.
// Without it they ignore SIGHUP if the test does, as under nohup.
func DefaultSIGHUP(t testing.TB) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP) // the child of a process with a handler has the default
	t.Cleanup(func() { signal.Stop(c) })
}
