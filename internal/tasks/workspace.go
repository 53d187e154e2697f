package tasks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A workspace is a temporary directory of one task. The task holds the lock of a file
// beside it; the next task removes directories whose file is not locked. The file is
// created before the directory and removed after it.
type workspace struct {
	dir  string
	lock *os.File
}

const (
	workspacePrefix = "promobuild-task-"
	lockSuffix      = ".lock"
)

// openWorkspace creates a workspace in parent, or in the system's directory for
// temporary files if parent is empty, and removes those of killed tasks.
func openWorkspace(parent string) (*workspace, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	sweepWorkspaces(parent)
	for {
		w, err := newWorkspace(parent)
		if !errors.Is(err, errSwept) {
			return w, err
		}
	}
}

// errSwept means that another task has removed the lock before it was taken.
var errSwept = errors.New("the lock was removed")

func newWorkspace(parent string) (w *workspace, err error) {
	name, err := newAttempt()
	if err != nil {
		return nil, err
	}
	w = &workspace{dir: filepath.Join(parent, workspacePrefix+name)}
	w.lock, err = os.OpenFile(w.dir+lockSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	switch err = syscall.Flock(int(w.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case errors.Is(err, syscall.EWOULDBLOCK):
		err = errSwept
	case err == nil:
		if _, serr := os.Stat(w.lock.Name()); errors.Is(serr, fs.ErrNotExist) {
			err = errSwept
		} else {
			err = os.Mkdir(w.dir, 0o700)
		}
	}
	if err != nil {
		os.Remove(w.lock.Name())
		w.lock.Close()
		return nil, err
	}
	return w, nil
}

// Close removes the workspace.
func (w *workspace) Close() error {
	return errors.Join(os.RemoveAll(w.dir), os.Remove(w.lock.Name()), w.lock.Close())
}

// sweepWorkspaces removes the workspaces of killed tasks. It leaves those that it
// cannot remove, such as those of other users.
func sweepWorkspaces(parent string) {
	entries, _ := os.ReadDir(parent) // a failure does not prevent the task
	for _, e := range entries {
		name, isLock := strings.CutSuffix(e.Name(), lockSuffix)
		if !isLock || !strings.HasPrefix(name, workspacePrefix) {
			continue
		}
		dir := filepath.Join(parent, name)
		lock, err := os.OpenFile(dir+lockSuffix, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil && os.RemoveAll(dir) == nil {
			os.Remove(dir + lockSuffix)
		}
		lock.Close()
	}
}
