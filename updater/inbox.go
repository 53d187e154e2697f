package updater

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/internal/fsx"
)

// What has become of a file of the inbox is where it is, so that a restart goes
// on from there. Each step is one rename:
//
//	NAME                  waits
//	.building/NAME        is being built
//	.publishing/ID_NAME   is generation ID, if there is one, else it is not built
//	done/NAME             is built
//	failed/NAME           is not, for the reason in failed/NAME.errors
const (
	buildingDir   = ".building"
	publishingDir = ".publishing"
	doneDir       = "done"
	failedDir     = "failed"
	reportSuffix  = ".errors"
	inboxLock     = ".lock"
)

// maxName leaves room for what is put before and behind the name of a file.
const maxName = 200

// An inbox is a directory that tables are moved into.
type inbox struct {
	s    *Server
	dir  string
	lock *os.File

	seen   map[string]fsx.Identity // at the last look
	failed string                  // why the last look came to nothing; empty: it did not
	warned map[string]bool         // files whose names are too long

	mu     sync.Mutex // guards status
	status inboxStatus
}

// inboxStatus is what there is in the inbox.
type inboxStatus struct {
	Waiting int      `json:"waiting"`
	Names   []string `json:"names"` // of those that wait: the first hundred, in the order in which they are taken
	Done    int      `json:"done"`
	Failed  int      `json:"failed"`
}

// newInbox takes dir, which no other process may have.
func newInbox(s *Server, dir string) (*inbox, error) {
	// Generations would be taken for tables, and be moved away.
	if data, err := os.Stat(s.opts.Build.Dir); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	} else if info, err := os.Stat(dir); err == nil && os.SameFile(data, info) {
		return nil, fmt.Errorf("inbox %s: it is the directory that has the generations", dir)
	}
	for _, sub := range []string{"", buildingDir, publishingDir, doneDir, failedDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("inbox: %w", err)
		}
	}
	lock, err := os.OpenFile(filepath.Join(dir, inboxLock), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("inbox %s: another updater has it: %w", dir, err)
	}
	return &inbox{s: s, dir: dir, lock: lock, warned: map[string]bool{}}, nil
}

func (x *inbox) close() error { return x.lock.Close() }

func (x *inbox) path(elem ...string) string {
	return filepath.Join(append([]string{x.dir}, elem...)...)
}

// run takes files until the server stops.
func (x *inbox) run() {
	tick := time.NewTicker(x.s.opts.Poll)
	defer tick.Stop()
	for {
		x.step()
		select {
		case <-tick.C:
		case <-x.s.work.closing:
			return
		}
	}
}

// step looks once, and logs why that came to nothing, unless the look before
// came to nothing for the same reason.
func (x *inbox) step() {
	last := x.failed
	x.failed = ""
	err := x.look()
	if err == nil || errors.Is(err, errClosed) || errors.Is(err, errStopped) {
		return
	}
	x.failed = err.Error()
	level := slog.LevelError
	if errors.Is(err, generation.ErrLocked) {
		level = slog.LevelInfo // a build by hand
	}
	if x.failed != last {
		x.s.log.Log(context.Background(), level, "inbox", "error", err)
	}
}

// look settles what an earlier process left, and then builds what is ready.
func (x *inbox) look() error {
	if err := x.settle(); err != nil {
		return err
	}
	left, err := x.files(buildingDir)
	if err != nil {
		return err
	}
	for _, info := range left { // before all others: it was taken first
		if err := x.build(info.Name()); err != nil {
			return err
		}
	}
	ready, err := x.ready()
	if err != nil {
		return err
	}
	for _, name := range ready {
		if err := x.take(name); err != nil {
			return err
		}
	}
	return x.count()
}

// settle decides what became of files whose publishing a crash cut off.
func (x *inbox) settle() error {
	files, err := x.files(publishingDir)
	if err != nil {
		return err
	}
	for _, info := range files {
		idText, name, _ := strings.Cut(info.Name(), "_")
		id, err := generation.ParseID(idText)
		if err != nil {
			return fmt.Errorf("%s: %w", x.path(publishingDir, info.Name()), err)
		}
		_, err = generation.Find(x.s.opts.Build.Dir, id)
		switch {
		case err == nil:
			x.s.log.Info("published before a restart", "source", sourceInbox, "name", name, "generation", id.String())
			err = x.finish(x.path(publishingDir, info.Name()), name, id.String())
		case errors.Is(err, generation.ErrAbsent):
			err = x.move(x.path(publishingDir, info.Name()), x.path(buildingDir, name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// files are the regular files of a directory in the inbox, in their order.
func (x *inbox) files(sub string) ([]os.FileInfo, error) {
	entries, err := os.ReadDir(x.path(sub))
	if err != nil {
		return nil, err
	}
	var list []os.FileInfo
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // gone meanwhile
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// isPassedOver tells the names of files that are not whole yet.
func isPassedOver(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".part")
}

// waiting are the files that are to be built, ready or not.
func (x *inbox) waiting() ([]os.FileInfo, error) {
	all, err := x.files("")
	if err != nil {
		return nil, err
	}
	list := all[:0]
	for _, info := range all {
		name := info.Name()
		switch {
		case isPassedOver(name):
		case len(name) <= maxName:
			list = append(list, info)
		case !x.warned[name]:
			x.warned[name] = true
			x.s.log.Warn("a file of the inbox is left alone: its name is too long", "name", name, "max", maxName)
		}
	}
	return list, nil
}

// ready are the files that have not changed since the last look and that
// nobody writes to.
func (x *inbox) ready() ([]string, error) {
	list, err := x.waiting()
	if err != nil {
		return nil, err
	}
	seen := map[string]fsx.Identity{}
	var names []string
	for _, info := range list {
		name := info.Name()
		seen[name] = fsx.IdentityOf(info)
		if seen[name].Equal(x.seen[name]) && !isWritten(x.path(name)) {
			names = append(names, name)
		}
	}
	x.seen = seen
	return names, nil
}

// isWritten reports whether a process has the file open to write to it, as far
// as the file system can tell: it then grants no lease for reading.
func isWritten(path string) bool {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return false // the build will tell
	}
	defer f.Close() // and the lease goes with it
	_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	return errors.Is(err, unix.EAGAIN)
}

// take builds a file that waits.
func (x *inbox) take(name string) error {
	// The turn comes first: a file that somebody takes back while another is
	// built is not missed.
	if err := x.s.work.enter(); err != nil {
		return err
	}
	defer x.s.work.leave()
	err := x.move(x.path(name), x.path(buildingDir, name))
	if errors.Is(err, fs.ErrNotExist) { // taken back
		return nil
	}
	if err != nil {
		return err
	}
	return x.buildInTurn(name)
}

// build builds a file of buildingDir.
func (x *inbox) build(name string) error {
	if err := x.s.work.enter(); err != nil {
		return err
	}
	defer x.s.work.leave()
	return x.buildInTurn(name)
}

// buildInTurn returns an error if the file is still to be built.
func (x *inbox) buildInTurn(name string) error {
	if err := x.count(); err != nil {
		return err
	}
	at := x.path(buildingDir, name)
	// It may not be what ready saw. Whoever can write to the inbox could have
	// another's file read, and see its rows in the report.
	if info, err := os.Lstat(at); err != nil {
		return fmt.Errorf("inbox: %w", err)
	} else if !info.Mode().IsRegular() {
		return x.fail(at, name, fmt.Errorf("%w: %s", fsx.ErrNotRegular, info.Mode()))
	}
	in := builder.FileInput(at)
	in.Name = name
	d, err := x.s.build(context.Background(), sourceInbox, name, in, func(id generation.ID) error {
		to := x.path(publishingDir, id.String()+"_"+name)
		err := x.move(at, to)
		if err == nil {
			at = to
		}
		return err
	})
	switch {
	case err == nil:
		return x.finish(at, name, d.Summary.Generation)
	case errors.Is(err, errStopped), errors.Is(err, generation.ErrLocked):
		if at != x.path(buildingDir, name) {
			return errors.Join(err, x.move(at, x.path(buildingDir, name)))
		}
		return err
	}
	return x.fail(at, name, err)
}

// finish puts a file that is published to those that are done.
func (x *inbox) finish(at, name, id string) error {
	return x.move(at, x.free(doneDir, name, id))
}

// fail puts a file and a report to those that failed. The report comes first,
// so that no file there lacks one.
func (x *inbox) fail(at, name string, cause error) error {
	to := x.free(failedDir, name, time.Now().UTC().Format("20060102T150405.000Z"))
	report := []byte(cause.Error() + "\n")
	temp := x.path(failedDir, ".report.tmp")
	err := os.WriteFile(temp, report, 0o644)
	if err == nil {
		err = os.Rename(temp, to+reportSuffix)
	}
	if err != nil {
		// On a full disk the log has to do.
		x.s.log.Error("report of a failed file", "name", name, "error", err)
		_ = os.Remove(temp)
	}
	return x.move(at, to)
}

// free is a path in a directory of the inbox that is not taken: suffix goes
// behind the name if it is.
func (x *inbox) free(sub, name, suffix string) string {
	path := x.path(sub, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return path
	}
	return path + "." + suffix
}

// move renames a file, durably.
func (x *inbox) move(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("inbox: %w", err)
	}
	for _, dir := range []string{filepath.Dir(to), filepath.Dir(from)} {
		if err := fsx.SyncDir(dir); err != nil {
			return fmt.Errorf("inbox: %w", err)
		}
	}
	return nil
}

// maxListed is how many names of files that wait the status has.
const maxListed = 100

// count looks how many files there are.
func (x *inbox) count() error {
	waiting, err := x.waiting()
	if err != nil {
		return err
	}
	st := inboxStatus{Waiting: len(waiting), Names: []string{}}
	for _, info := range waiting[:min(len(waiting), maxListed)] {
		st.Names = append(st.Names, info.Name())
	}
	for sub, n := range map[string]*int{doneDir: &st.Done, failedDir: &st.Failed} {
		files, err := x.files(sub)
		if err != nil {
			return err
		}
		for _, info := range files {
			if !strings.HasPrefix(info.Name(), ".") && !(sub == failedDir && strings.HasSuffix(info.Name(), reportSuffix)) {
				*n++
			}
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status = st
	return nil
}

func (x *inbox) counts() inboxStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.status
}
