package updater

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"promostore/internal/fsx"
)

// The path of a file in an inbox is its state, so that a restart continues
// where a crash interrupted. Every change of state is one rename:
//
//	NAME                  waiting
//	.building/NAME        taken; not published
//	.publishing/ID_NAME   published if generation ID exists, else taken
//	done/NAME             published
//	failed/NAME           rejected; failed/NAME.errors has the reason
const (
	buildingDir   = ".building"
	publishingDir = ".publishing"
	doneDir       = "done"
	failedDir     = "failed"
	reportSuffix  = ".errors"
	inboxLock     = ".lock"
)

// reportTime is the format of the time that makes the name of a file unique.
const reportTime = "20060102T150405.000Z"

// maxName limits the name of a file, in bytes. It leaves room for the prefixes
// and suffixes of the states: a file system allows 255.
const maxName = 200

// An inboxDir moves the files of an inbox from state to state. Not safe for
// concurrent use.
type inboxDir struct {
	dir    string
	lock   *os.File
	log    *slog.Logger
	warned map[string]bool // names over maxName that were logged
}

// openInboxDir creates dir and locks it for this process. dir must not be data,
// the directory of the generations: the inbox would build generation files and
// move them away.
func openInboxDir(dir, data string, log *slog.Logger) (*inboxDir, error) {
	if dataInfo, err := os.Stat(data); err != nil {
		return nil, fmt.Errorf("inbox: %w", err)
	} else if info, err := os.Stat(dir); err == nil && os.SameFile(dataInfo, info) {
		return nil, fmt.Errorf("inbox %s: is the directory of the generations", dir)
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
		return nil, fmt.Errorf("inbox %s: in use by another updater: %w", dir, err)
	}
	return &inboxDir{dir: dir, lock: lock, log: log, warned: map[string]bool{}}, nil
}

func (d *inboxDir) close() error { return d.lock.Close() }

func (d *inboxDir) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

// files returns the regular files of the subdirectory sub, sorted by name.
func (d *inboxDir) files(sub string) ([]os.FileInfo, error) {
	entries, err := os.ReadDir(d.path(sub))
	if err != nil {
		return nil, err
	}
	var list []os.FileInfo
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) { // removed after ReadDir
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, info)
	}
	return list, nil
}

// waiting returns the files that wait for a build, complete or not.
func (d *inboxDir) waiting() ([]os.FileInfo, error) {
	all, err := d.files("")
	if err != nil {
		return nil, err
	}
	list := all[:0]
	for _, info := range all {
		name := info.Name()
		switch {
		case isTemporary(name):
		case len(name) <= maxName:
			list = append(list, info)
		case !d.warned[name]:
			d.warned[name] = true
			d.log.Warn("inbox file ignored: name too long", "name", name, "max", maxName)
		}
	}
	return list, nil
}

// isTemporary reports whether name is one that programs give to incomplete
// files.
func isTemporary(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tmp") || strings.HasSuffix(name, ".part")
}

// errWritten reports a file that a process has open for writing.
var errWritten = errors.New("open for writing")

// checkLease returns nil if no process has f open for writing: the kernel then
// grants a read lease. It returns errWritten if one has. Any other error means
// that the kernel does not tell: it refuses leases on files of other users
// without CAP_LEASE, and on file systems without leases.
func checkLease(f *os.File) error {
	_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if errors.Is(err, unix.EAGAIN) {
		return errWritten
	}
	if err != nil {
		return os.NewSyscallError("lease", err)
	}
	_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK) // else the next writer waits for it
	return nil
}

// finish moves a published file to doneDir.
func (d *inboxDir) finish(at, name, id string) error {
	return d.move(at, d.unused(doneDir, name, id))
}

// fail moves a rejected file to failedDir, next to a report. It writes the
// report first, so that every file there has one.
func (d *inboxDir) fail(at, name, report string) error {
	to := d.unused(failedDir, name, time.Now().UTC().Format(reportTime))
	temp := d.path(failedDir, ".report.tmp")
	err := os.WriteFile(temp, []byte(report+"\n"), 0o644)
	if err == nil {
		err = os.Rename(temp, to+reportSuffix)
	}
	if err != nil {
		// On a full disk the result in /status and in the log must suffice.
		d.log.Error("report of a failed file", "name", name, "error", err)
		_ = os.Remove(temp)
	}
	return d.move(at, to)
}

// unused returns an unused path in sub: name, followed by suffix if name is in
// use.
func (d *inboxDir) unused(sub, name, suffix string) string {
	path := d.path(sub, name)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return path
	}
	return path + "." + suffix
}

// move renames a file durably.
func (d *inboxDir) move(from, to string) error {
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

// count counts the files of each state.
func (d *inboxDir) count() (inboxStatus, error) {
	waiting, err := d.waiting()
	if err != nil {
		return inboxStatus{}, err
	}
	st := inboxStatus{Waiting: len(waiting), Names: []string{}}
	for _, info := range waiting[:min(len(waiting), maxListed)] {
		st.Names = append(st.Names, info.Name())
	}
	for sub, n := range map[string]*int{doneDir: &st.Done, failedDir: &st.Failed} {
		files, err := d.files(sub)
		if err != nil {
			return inboxStatus{}, err
		}
		for _, info := range files {
			if !strings.HasPrefix(info.Name(), ".") && !(sub == failedDir && strings.HasSuffix(info.Name(), reportSuffix)) {
				*n++
			}
		}
	}
	return st, nil
}
