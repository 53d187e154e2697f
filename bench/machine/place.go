package machine

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// OnDisk returns an error if what is written to dir stays in memory, where no
// disk would be measured: on tmpfs, on ramfs, or on an overlay on them. What an
// overlay lies on cannot be told from within a container; then it passes.
func OnDisk(dir string) error {
	kind, err := inMemory(dir)
	if err != nil {
		return err
	}
	if kind != "" {
		return fmt.Errorf("%s is on %s, in memory", dir, kind)
	}
	return nil
}

// inMemory is the kind of file system of dir if it is in memory, else empty.
func inMemory(dir string) (string, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "", fmt.Errorf("statfs %s: %w", dir, err)
	}
	switch uint32(fs.Type) {
	case unix.TMPFS_MAGIC:
		return "tmpfs", nil
	case unix.RAMFS_MAGIC:
		return "ramfs", nil
	case unix.OVERLAYFS_SUPER_MAGIC:
		var stat unix.Stat_t
		if err := unix.Stat(dir, &stat); err != nil {
			return "", fmt.Errorf("stat %s: %w", dir, err)
		}
		mounts, err := os.Open("/proc/self/mountinfo")
		if err != nil {
			return "", err
		}
		defer mounts.Close()
		upper := upperDir(mounts, fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev)))
		if _, err := os.Stat(upper); err != nil {
			return "", nil
		}
		kind, err := inMemory(upper)
		if kind != "" {
			kind = "an overlay on " + kind
		}
		return kind, err
	}
	return "", nil
}

// upperDir is where the overlay of a device number, as in 0:42, keeps what is
// written to it, by the lines of mountinfo; empty if they do not tell.
func upperDir(mountinfo io.Reader, device string) string {
	for lines := bufio.NewScanner(mountinfo); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 3 || fields[2] != device {
			continue
		}
		for option := range strings.SplitSeq(fields[len(fields)-1], ",") {
			if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
				return filepath.Clean(dir)
			}
		}
	}
	return ""
}

// Free is the bytes that a user may still write to the file system of dir.
func Free(dir string) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(fs.Bavail) * fs.Bsize, nil
}
