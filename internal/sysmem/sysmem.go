// Package sysmem reports how much memory this process may use and has used.
//
// It reads cgroups itself because github.com/KimMachineGun/automemlimit v1.0.1
// ignores memory.high, fails on a path that leads out of a container, and reports
// neither available memory nor peaks.
package sysmem

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"
)

// Total returns the memory that this process may use, in bytes: the memory of the
// machine, or the lowest limit of its cgroup (version 1 or 2) and the parents of
// that. It includes used memory.
func Total() int64 {
	total := int64(unlimited)
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		total = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	return min(total, cgroupLimit(os.DirFS("/")))
}

// Available returns how much of Total is free or can be reclaimed, in bytes. Page
// cache can be reclaimed. Use by other members of the cgroup is not deducted.
func Available() int64 { return available(os.DirFS("/")) }

func available(root fs.FS) int64 {
	n := int64(unlimited)
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		n = availableIn(text)
	}
	return min(n, cgroupLimit(root))
}

// availableIn returns MemAvailable from the text of /proc/meminfo.
func availableIn(text []byte) int64 {
	if n, ok := kibibytes(text, "MemAvailable"); ok {
		return n
	}
	return unlimited
}

// Peak returns the peak resident memory of this process in bytes, or 0 if it is
// unknown. It does not use getrusage, whose figure starts at the peak of the parent.
func Peak() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	n, _ := kibibytes(text, "VmHWM")
	return n
}

// kibibytes returns the value of a line "name: n kB", in bytes.
func kibibytes(text []byte, name string) (n int64, ok bool) {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) == 3 && f[0] == name+":" && f[2] == "kB" {
			if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil && kb >= 0 && kb <= unlimited>>10 {
				return kb << 10, true
			}
		}
	}
	return 0, false
}

const unlimited = math.MaxInt64

// cgroupLimit returns the lowest limit of the cgroups of this process.
func cgroupLimit(root fs.FS) int64 {
	groups, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return unlimited
	}
	limit := int64(unlimited)
	// Each line is hierarchy:controllers:path; version 2 names no controllers.
	for lines := bufio.NewScanner(bytes.NewReader(groups)); lines.Scan(); {
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) < 3 {
			continue
		}
		if f[0] == "0" && f[1] == "" {
			limit = min(limit, walk(root, "sys/fs/cgroup", f[2], "memory.max"))
			limit = min(limit, walk(root, "sys/fs/cgroup", f[2], "memory.high")) // above it the kernel throttles the process
		}
		for _, controller := range strings.Split(f[1], ",") {
			if controller == "memory" {
				limit = min(limit, walk(root, "sys/fs/cgroup/memory", f[2], "memory.limit_in_bytes"))
			}
		}
	}
	return limit
}

// walk returns the lowest number in the files of a name, from the group up to the
// root of its hierarchy. It skips a group that is not visible, as in a container,
// but reads its parents.
func walk(root fs.FS, mount, group, name string) int64 {
	limit := int64(unlimited)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		text, err := fs.ReadFile(root, path.Join(mount, dir, name))
		if err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n >= 0 { // "max" is not a number
				limit = min(limit, n)
			}
		}
		if dir == "/" {
			return limit
		}
	}
}
