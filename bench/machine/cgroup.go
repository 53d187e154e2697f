package machine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits is what the processes of a Group may use together.
type Limits struct {
	MemoryBytes int64  // page cache included; 0: no limit
	ReadsPerSec int    // of the disk that Dir is on; 0: no limit
	Dir         string // for ReadsPerSec
}

// A Group is a control group, of version 1 or 2, at the top of the hierarchy.
// Not safe for concurrent use.
type Group struct {
	dirs []string // of the group, one for each hierarchy that it is in
}

// ErrNoGroups says that this process may not make control groups, or that the
// machine has none.
var ErrNoGroups = errors.New("no control groups")

// cgroups is where the hierarchies are mounted: the one of version 2 itself,
// or a directory for each controller of version 1.
const cgroups = "/sys/fs/cgroup"

var numGroups atomic.Int64 // that this process made so far

// NewGroup makes a group, which needs root. The caller closes it, when its
// processes have ended. The error wraps ErrNoGroups.
func NewGroup(l Limits) (*Group, error) {
	g := &Group{}
	if err := g.open(l); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrNoGroups, err), g.Close())
	}
	return g, nil
}

func (g *Group) open(l Limits) error {
	name := fmt.Sprintf("promobench-%d-%d", os.Getpid(), numGroups.Add(1))
	limit := ""
	if l.ReadsPerSec > 0 {
		disk, err := diskOf(l.Dir)
		if err != nil {
			return err
		}
		limit = disk + " "
	}
	if controllers, err := os.ReadFile(filepath.Join(cgroups, "cgroup.controllers")); err == nil {
		if !strings.Contains(string(controllers), "memory") || !strings.Contains(string(controllers), "io") {
			return fmt.Errorf("%s has only the controllers %s", cgroups, strings.TrimSpace(string(controllers)))
		}
		// There already, as a rule.
		if err := writeTo(filepath.Join(cgroups, "cgroup.subtree_control"), "+memory +io"); err != nil {
			return err
		}
		if err := g.add(filepath.Join(cgroups, name)); err != nil {
			return err
		}
		if l.MemoryBytes > 0 {
			if err := g.set("memory.max", strconv.FormatInt(l.MemoryBytes, 10)); err != nil {
				return err
			}
		}
		if l.ReadsPerSec > 0 {
			return g.set("io.max", fmt.Sprintf("%sriops=%d", limit, l.ReadsPerSec))
		}
		return nil
	}
	if l.MemoryBytes > 0 {
		if err := g.add(filepath.Join(cgroups, "memory", name)); err != nil {
			return err
		}
		if err := g.set("memory.limit_in_bytes", strconv.FormatInt(l.MemoryBytes, 10)); err != nil {
			return err
		}
	}
	if l.ReadsPerSec > 0 {
		if err := g.add(filepath.Join(cgroups, "blkio", name)); err != nil {
			return err
		}
		return g.set("blkio.throttle.read_iops_device", limit+strconv.Itoa(l.ReadsPerSec))
	}
	return nil
}

func (g *Group) add(dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	g.dirs = append(g.dirs, dir)
	return nil
}

// set writes to a file of the hierarchy that was added last.
func (g *Group) set(file, value string) error {
	return writeTo(filepath.Join(g.dirs[len(g.dirs)-1], file), value)
}

// writeTo does not create the file, unlike os.WriteFile.
func writeTo(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// Command is exec.CommandContext in the group: the program is in it before it
// starts. It dies with this process.
func (g *Group) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// Whoever writes 0 moves itself.
	script := ""
	for _, dir := range g.dirs {
		script += "echo 0 > " + dir + "/cgroup.procs && "
	}
	c := exec.CommandContext(ctx, "/bin/sh", append([]string{"-c", script + `exec "$@"`, "sh", name}, args...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// closeTime is how long a group may take to become empty: a process leaves it
// a moment after it was waited for.
const closeTime = 5 * time.Second

// Close removes the group. Its processes must have ended.
func (g *Group) Close() error {
	var errs []error
	for _, dir := range g.dirs {
		err := os.Remove(dir)
		for end := time.Now().Add(closeTime); errors.Is(err, unix.EBUSY) && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond)
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	g.dirs = nil
	return errors.Join(errs...)
}

// diskOf is the number, as in 254:0, of the whole disk that dir is on.
func diskOf(dir string) (string, error) {
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return "", fmt.Errorf("stat %s: %w", dir, err)
	}
	number := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	sys := filepath.Join("/sys/dev/block", number)
	if _, err := os.Stat(sys); err != nil {
		return "", fmt.Errorf("%s is not on a disk: %w", dir, err)
	}
	if _, err := os.Stat(filepath.Join(sys, "partition")); err != nil {
		return number, nil
	}
	sys, err := filepath.EvalSymlinks(sys)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(sys), "dev"))
	return strings.TrimSpace(string(text)), err
}
