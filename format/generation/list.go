package generation

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// List returns the generations in dir in the order of ID.Before: those from the
// future, which is the exception, and then the others, oldest first. It reads
// names only, and ignores names that ParseName rejects and directories. It hides
// the files of a generation that is being published or whose publication was
// interrupted. Other files cost it little, because servers list their directory
// every second.
func List(dir string) ([]Generation, error) {
	names, unfinished, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	slices.SortFunc(names, func(a, b Name) int {
		switch {
		case a.ID.Before(b.ID, now):
			return -1
		case b.ID.Before(a.ID, now):
			return 1
		}
		return cmp.Or(cmp.Compare(a.Shards, b.Shards), cmp.Compare(a.Shard, b.Shard))
	})
	var list []Generation
	for _, n := range names {
		if i := len(list) - 1; i < 0 || list[i].ID != n.ID || list[i].Shards != n.Shards {
			list = append(list, Generation{ID: n.ID, Shards: n.Shards})
		}
		g := &list[len(list)-1]
		g.Files = append(g.Files, filepath.Join(dir, n.String()))
	}
	if len(unfinished) > 0 {
		list = slices.DeleteFunc(list, func(g Generation) bool {
			return !g.Complete() && slices.Contains(unfinished, Name{ID: g.ID, Shards: g.Shards})
		})
	}
	return list, nil
}

// Future returns the generations of list from the future.
func Future(list []Generation) []Generation {
	now := time.Now()
	var future []Generation
	for _, g := range list {
		if g.ID.IsFuture(now) {
			future = append(future, g)
		}
	}
	return future
}

// readNames returns the names in dir that ParseName accepts, in any order,
// except those of directories, and the names that parseMarker accepts. It does
// not allocate for the other names: among 100,000 of them, os.ReadDir takes four
// times as long.
func readNames(dir string) (names, unfinished []Name, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	// From linux/dirent.h: the offsets in struct linux_dirent64.
	const lenOff, typeOff, nameOff = 16, 18, 19
	buf := make([]byte, 32<<10)
	for {
		n, err := syscall.Getdents(int(d.Fd()), buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, nil, &os.PathError{Op: "getdents", Path: dir, Err: err}
		}
		if n == 0 {
			return names, unfinished, nil
		}
		for b := buf[:n]; len(b) > nameOff; b = b[binary.NativeEndian.Uint16(b[lenOff:]):] {
			entry := b[:binary.NativeEndian.Uint16(b[lenOff:])]
			text, _, _ := bytes.Cut(entry[nameOff:], []byte{0})
			if bytes.HasSuffix(text, []byte(markerSuffix)) {
				if name, ok := parseMarker(string(text)); ok {
					unfinished = append(unfinished, name)
				}
				continue
			}
			// Parsing the other names would take most of the time, for its errors.
			if !bytes.HasPrefix(text, []byte(prefix)) || !bytes.HasSuffix(text, []byte(suffix)) {
				continue
			}
			name, err := ParseName(string(text))
			if err == nil && !isDir(entry[typeOff], filepath.Join(dir, string(text))) {
				names = append(names, name)
			}
		}
	}
}

// isDir reports whether an entry of that type is a directory. Some file systems
// do not tell the type.
func isDir(entryType byte, path string) bool {
	if entryType != syscall.DT_UNKNOWN {
		return entryType == syscall.DT_DIR
	}
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}
