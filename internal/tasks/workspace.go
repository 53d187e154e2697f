package tasks

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A workspace is a temporary directory of one task. A lock tells it from those of
// killed tasks, which the next task removes.
type workspace struct {
	dir  string
	lock *os.File
}

const (
	workspacePrefix   = "promobuild-task-"
	workspaceLockName = "lock"
)

// openWorkspace creates a workspace in parent, or in the system's directory for
// temporary files if parent is empty, and removes those of killed tasks.
func openWorkspace(parent string) (*workspace, error) {
	if parent == "" {
		parent = os.TempDir()
	}
	sweepWorkspaces(parent)
	for {
		dir, err := os.MkdirTemp(parent, workspacePrefix+"*")
		if err != nil {
			return nil, err
		}
		w, err := lockWorkspace(dir)
		if err == nil {
			return w, nil
		}
		os.RemoveAll(dir)
		if !errors.Is(err, errSwept) {
			return nil, err
		}
	}
}

// errSwept means that another task has removed a workspace before it was locked.
var errSwept = errors.New("the directory was removed")

func lockWorkspace(dir string) (*workspace, error) {
	path := filepath.Join(dir, workspaceLockName)
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errSwept
	}
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = errSwept
	}
	if err == nil {
		if _, serr := os.Stat(path); errors.Is(serr, fs.ErrNotExist) {
			err = errSwept
		}
	}
	if err != nil {
		lock.Close()
		return nil, err
	}
	return &workspace{dir, lock}, nil
}

// Close removes the workspace.
func (w *workspace) Close() error {
	return errors.Join(os.RemoveAll(w.dir), w.lock.Close())
}

// sweepWorkspaces removes the workspaces of killed tasks. It leaves those that it
// cannot remove, such as those of other users.
func sweepWorkspaces(parent string) {
	entries, _ := os.ReadDir(parent) // a failure does not prevent the task
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), workspacePrefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		lock, err := os.OpenFile(filepath.Join(dir, workspaceLockName), os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			// A task is creating it, or was killed in between.
			if info, err := os.Lstat(dir); err == nil && time.Since(info.ModTime()) > time.Hour {
				os.RemoveAll(dir)
			}
			continue
		}
		if err != nil {
			continue
		}
		if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			os.RemoveAll(dir)
		}
		lock.Close()
	}
}
