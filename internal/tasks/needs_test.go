package tasks

import (
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"promostore/builder"
	"promostore/internal/synth"
)

// The disk of a split is at most the estimate, and the estimate is not much higher.
func TestNeedsOfSplit(t *testing.T) {
	s := newS3Site(t)
	p := makePlan(t, s.makeOptions(s.put(t, "a.csv", csvOf(t, synth.DataSet{Rows: 200_000}))))
	task := taskOptions(t)
	var most atomic.Int64
	_, err := p.Split(t.Context(), 0, task, func(status builder.Status) {
		if status.Phase == builder.PhasePublish { // the runs are complete
			most.Store(max(most.Load(), diskOf(t, task.TempDir)))
		}
	})
	must(t, err)
	if need := p.Needs().SplitDisk; most.Load() > need || most.Load() < need/3 {
		t.Errorf("%d bytes, estimated %d", most.Load(), need)
	}
}

// diskOf returns the disk space that the files below dir take.
func diskOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && !e.IsDir() && unix.Lstat(path, &st) == nil { // it may be removed meanwhile
			n += st.Blocks * 512
		}
		return nil
	}))
	return n
}
