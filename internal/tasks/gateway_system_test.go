//go:build system

package tasks

import (
	"testing"

	"promostore/internal/objecttest"
)

// A real server publishes the same as the one in the process of other tests, with
// and without faults.
func TestTasksOnRealServer(t *testing.T) {
	server := objecttest.Gateway(t)
	server.Setenv(t)
	t.Run("tasks", func(t *testing.T) {
		testTasks(t, site{"s3://" + objecttest.Bucket + "/tasks", server.Options(), server})
	})
	t.Run("faults", func(t *testing.T) {
		testFaults(t, site{"s3://" + objecttest.Bucket + "/faults", server.Options(), server})
	})
}
