package generation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"promostore/internal/fsx"
)

// ErrLocked reports that another process has the Writer of a directory.
var ErrLocked = errors.New("the directory is in use")

const lockName = ".lock"

// A Writer publishes and prunes generations of a directory. At most one process
// holds a Writer of a directory.
type Writer struct {
	dir  string
	lock *os.File
}

// OpenWriter creates dir if it does not exist, takes its lock, and removes the
// files of killed writers that are not published, and summaries whose generation is
// gone. If another process has the lock, the error wraps ErrLocked and names the
// process.
func OpenWriter(dir string) (*Writer, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, lock: lock}
	if err := w.acquire(); err != nil {
		lock.Close()
		return nil, err
	}
	return w, nil
}

// makeDir creates dir and its parents, durably, if they do not exist.
func makeDir(dir string) error {
	var parents []string // of the directories to create
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil || d == filepath.Dir(d) {
			break
		}
		parents = append(parents, filepath.Dir(d))
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := fsx.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) acquire() error {
	err := syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder, _ := io.ReadAll(io.NewSectionReader(w.lock, 0, 64))
		pid := strings.TrimSpace(string(holder))
		return fmt.Errorf("%w: process %s is writing to %s; wait for it or stop it", ErrLocked, pid, w.dir)
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", w.lock.Name(), err)
	}
	if err := w.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := w.lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0); err != nil {
		return err
	}
	return w.sweep()
}

// Close releases the lock. The lock file remains: if it were removed, two
// writers could lock two files of the same name.
func (w *Writer) Close() error { return closeLocked(w.lock) }

// closeLocked unlocks and closes f. Closing alone would leave the lock to copies
// of the descriptor, which a starting child process has until it calls exec.
func closeLocked(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_UN)
	if cerr := f.Close(); cerr != nil {
		return cerr // also if f was closed before
	}
	return err
}

// sweep removes the files of killed writers that are not published, and summaries
// without a generation.
func (w *Writer) sweep() error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	var summaries []string
	for _, e := range entries {
		switch {
		case strings.HasSuffix(e.Name(), summarySuffix):
			summaries = append(summaries, e.Name())
		case isTempSummary(e.Name()):
			_ = os.Remove(filepath.Join(w.dir, e.Name()))
		case isTempName(e.Name()):
			err = os.Remove(filepath.Join(w.dir, e.Name()))
		case e.Name() == pinTempName:
			err = sweepPin(w.dir)
		}
		if err != nil {
			return err
		}
	}
	if err := w.sweepMarkers(); err != nil || len(summaries) == 0 {
		return err
	}
	return w.sweepSummaries(summaries)
}
