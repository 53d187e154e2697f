// Package sysmem tells how much memory there is for this process, and how much
// it has taken.
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

// Total is the memory, in bytes, that this process may use: that of the
// machine, or the limit of its cgroup (version 1 or 2) or of one above it if
// that is less. It is not what is free.
func Total() int64 {
	total := int64(unlimited)
	var info syscall.Sysinfo_t
	if syscall.Sysinfo(&info) == nil {
		total = int64(uint64(info.Totalram) * uint64(info.Unit))
	}
	return min(total, cgroupLimit(os.DirFS("/")))
}

// Available is how much of Total is free or can be freed, in bytes; page cache
// can. What other members of the cgroup have taken is not known.
func Available() int64 { return available(os.DirFS("/")) }

func available(root fs.FS) int64 {
	n := int64(unlimited)
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		n = availableIn(text)
	}
	return min(n, cgroupLimit(root))
}

// availableIn is MemAvailable of /proc/meminfo.
func availableIn(text []byte) int64 {
	if n, ok := kibibytes(text, "MemAvailable"); ok {
		return n
	}
	return unlimited
}

// Peak is the most bytes of this process that were in memory at a time; 0 if
// that is not known. Not as getrusage has it, which begins with what the
// parent had.
func Peak() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	n, _ := kibibytes(text, "VmHWM")
	return n
}

// kibibytes is the figure of this name, in bytes, in a file of "name: n kB".
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

// cgroupLimit is the least limit of the cgroups that this process is in.
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
			limit = min(limit, walk(root, "sys/fs/cgroup", f[2], "memory.high")) // beyond it everything crawls
		}
		for _, controller := range strings.Split(f[1], ",") {
			if controller == "memory" {
				limit = min(limit, walk(root, "sys/fs/cgroup/memory", f[2], "memory.limit_in_bytes"))
			}
		}
	}
	return limit
}

// walk is the least number in a file of this name from the group up to the
// root of its hierarchy. A group that cannot be seen, as from within a
// container, has no limit of its own, but those above it are looked at.
func walk(root fs.FS, mount, group, name string) int64 {
	limit := int64(unlimited)
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		text, err := fs.ReadFile(root, path.Join(mount, dir, name))
		if err == nil {
			n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			if err == nil && n >= 0 { // "max" is no number
				limit = min(limit, n)
			}
		}
		if dir == "/" {
			return limit
		}
	}
}
