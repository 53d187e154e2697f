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
// an incomplete generation that is being published or whose publication was
// interrupted. Other files cost it little, because servers list their directory
// every second.
func List(dir string) ([]Generation, error) {
	files, unfinished, err := readFiles(dir)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	slices.SortFunc(files, func(a, b file) int {
		switch {
		case a.ID == b.ID:
			return cmp.Or(cmp.Compare(a.Shards, b.Shards), cmp.Compare(a.Shard, b.Shard))
		case a.ID.Before(b.ID, now):
			return -1
		}
		return 1
	})
	var list []Generation
	for _, f := range files {
		if i := len(list) - 1; i < 0 || list[i].ID != f.ID || list[i].Shards != f.Shards {
			list = append(list, Generation{ID: f.ID, Shards: f.Shards})
		}
		g := &list[len(list)-1]
		g.Files = append(g.Files, f.path)
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

// A file has the name of a file of a generation.
type file struct {
	Name
	path string
}

// readFiles returns the files in dir, in any order, except directories, and the
// names that parseMarker accepts. It does not allocate for other names: among
// 100,000 of them, os.ReadDir takes four times as long.
func readFiles(dir string) (files []file, unfinished []Name, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	// From linux/dirent.h: the offsets in struct linux_dirent64.
	const lenOff, typeOff, nameOff = 16, 18, 19
	buf := make([]byte, 32<<10)
	var parser nameParser
	for {
		n, err := syscall.Getdents(int(d.Fd()), buf)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, nil, &os.PathError{Op: "getdents", Path: dir, Err: err}
		}
		if n == 0 {
			return files, unfinished, nil
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
			if !bytes.HasPrefix(text, []byte(prefix)) || !bytes.HasSuffix(text, []byte(suffix)) {
				continue
			}
			path := filepath.Join(dir, string(text))
			name, ok := parser.parse(path[len(path)-len(text):])
			if ok && !isDir(entry[typeOff], path) {
				files = append(files, file{name, path})
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
