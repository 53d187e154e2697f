package reader

import (
	"bufio"
	"bytes"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// fits reports whether a file of size bytes can stay in memory. A quarter is
// left for the heap, for other programs and for the generation that comes
// next.
func fits(size int64, root fs.FS) bool { return size <= memory(root)/4*3 }

// memory is how many bytes this process can have: what the machine has to
// spare, and no more than its control groups allow. root is the file system.
// If nothing can be found out, there is no limit.
func memory(root fs.FS) int64 {
	n := int64(math.MaxInt64)
	if text, err := fs.ReadFile(root, "proc/meminfo"); err == nil {
		n = availableIn(text)
	}
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return n
	}
	for _, g := range cgroupsIn(text) {
		// A group is held to the limits of all above it. In a container the
		// path may be one of the host that is not to be seen here, but the
		// root of the mount then is the container's own group.
		for dir := path.Clean("/" + g.path); ; dir = path.Dir(dir) {
			for _, file := range g.files {
				if text, err := fs.ReadFile(root, path.Join(g.mount, dir, file)); err == nil {
					n = min(n, limitIn(text))
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return n
}

// availableIn is MemAvailable of /proc/meminfo in bytes: what is free or can be
// freed, page cache included.
func availableIn(text []byte) int64 {
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) == 3 && f[0] == "MemAvailable:" && f[2] == "kB" {
			if kb, err := strconv.ParseInt(f[1], 10, 64); err == nil && kb >= 0 && kb <= math.MaxInt64>>10 {
				return kb << 10
			}
		}
	}
	return math.MaxInt64
}

// A cgroup is a control group that may limit memory.
type cgroup struct {
	mount, path string
	files       []string // that hold limits
}

// cgroupsIn reads /proc/self/cgroup, lines of number:controllers:path, where
// version 2 has the number 0 and no controllers.
func cgroupsIn(text []byte) []cgroup {
	var list []cgroup
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.SplitN(lines.Text(), ":", 3)
		if len(f) != 3 {
			continue
		}
		if f[0] == "0" && f[1] == "" {
			list = append(list, cgroup{"sys/fs/cgroup", f[2], []string{"memory.max", "memory.high"}})
			continue
		}
		for _, controller := range strings.Split(f[1], ",") {
			if controller == "memory" {
				list = append(list, cgroup{"sys/fs/cgroup/memory", f[2], []string{"memory.limit_in_bytes"}})
			}
		}
	}
	return list
}

// limitIn reads a limit in bytes, or "max".
func limitIn(text []byte) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || n < 0 {
		return math.MaxInt64
	}
	return n
}
