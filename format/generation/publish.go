package generation

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"promostore/internal/fsx"
)

// ErrLocked reports that another process has the Writer of a directory.
var ErrLocked = errors.New("the directory is in use")

const (
	lockName   = ".lock"
	tempPrefix = "."
	tempSuffix = ".tmp"
)

func tempName(n Name) string { return tempPrefix + n.String() + tempSuffix }

func isTempName(s string) bool {
	name, ok := strings.CutSuffix(s, tempSuffix)
	if !ok || !strings.HasPrefix(name, tempPrefix) {
		return false
	}
	_, err := ParseName(name[len(tempPrefix):])
	return err == nil
}

// A Writer publishes and prunes generations of a directory. At most one process
// holds a Writer of a directory.
type Writer struct {
	dir  string
	lock *os.File
}

// OpenWriter creates dir if it does not exist, takes its lock, and removes the
// temporary files of killed writers. If another process has the lock, the error
// wraps ErrLocked and names the process.
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

func (w *Writer) sweep() error {
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case isTempName(e.Name()):
			err = os.Remove(filepath.Join(w.dir, e.Name()))
		case e.Name() == pinTempName:
			err = sweepPin(w.dir)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// ErrFuture reports an ID that is more than MaxAhead after the time of the clock.
var ErrFuture = errors.New("more than an hour ahead of the clock")

// Next returns the ID of a generation created now. If the directory has this or
// a later ID, Next returns the first ID after the newest. Generations from the
// future do not count.
func (w *Writer) Next(now time.Time) (ID, error) {
	list, err := List(w.dir)
	if err != nil {
		return 0, err
	}
	id := IDOf(now)
	for _, g := range list {
		if !g.ID.IsFuture(now) {
			id = max(id, g.ID+1)
		}
	}
	return id, nil
}

// Create begins a generation of one shard. id must be greater than all IDs in the
// directory. If id is not from the future, IDs from the future do not count.
func (w *Writer) Create(id ID) (*Pending, error) {
	if id < 0 || id > maxID {
		return nil, fmt.Errorf("%w: %d ms since 1970 is out of range", ErrName, int64(id))
	}
	if err := w.checkNewest(id); err != nil {
		return nil, err
	}
	name := Name{ID: id, Shards: 1}
	f, err := os.OpenFile(filepath.Join(w.dir, tempName(name)), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	return &Pending{File: f, w: w, id: id}, nil
}

func (w *Writer) checkNewest(id ID) error {
	list, err := List(w.dir)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, g := range slices.Backward(list) {
		if id <= g.ID && (id.IsFuture(now) || !g.ID.IsFuture(now)) {
			return fmt.Errorf("generation %s would not be the newest: %s already has %s", id, w.dir, g.ID)
		}
	}
	return nil
}

// A Pending is the file of an unpublished generation, under a temporary name that
// servers ignore. The caller calls Publish or Discard.
type Pending struct {
	*os.File
	w  *Writer
	id ID
}

// Path returns the path of the file after Publish.
func (p *Pending) Path() string {
	return filepath.Join(p.w.dir, Name{ID: p.id, Shards: 1}.String())
}

// Renew changes the ID to the result of Next, if servers prefer that. A long build
// needs it if newer generations arrived in other ways, or if the clock was ahead
// when it started.
func (p *Pending) Renew(now time.Time) (ID, error) {
	id, err := p.w.Next(now)
	if err == nil && p.id.Before(id, now) {
		p.id = id
	}
	return p.id, err
}

// Publish makes the file durable and renames it to Path. It fails if the
// directory has this or a later ID by now. After success the generation survives
// a power cut; after an error nothing of it remains.
func (p *Pending) Publish() error {
	err := p.Sync()
	if cerr := p.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(p.Name())
		return err
	}
	err = p.w.checkNewest(p.id)
	if err == nil {
		err = os.Rename(p.Name(), p.Path())
	}
	if err != nil {
		os.Remove(p.Name())
		return err
	}
	if err := fsx.SyncDir(p.w.dir); err != nil {
		os.Remove(p.Path())
		return err
	}
	return nil
}

// Discard removes the file. It does nothing after Publish.
func (p *Pending) Discard() error {
	err := p.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	rerr := os.Remove(p.Name())
	if errors.Is(rerr, os.ErrNotExist) {
		rerr = nil
	}
	return errors.Join(err, rerr)
}
