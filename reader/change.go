package reader

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrChanged reports that an id was not found in a file that may have changed
// since it was opened or verified, so that the id may exist. Records are found
// as before. Store.Changed makes a poll verify the file again.
var ErrChanged = errors.New("file may have changed since it was verified")

// timeResolution is the longest tick of the clock that local file systems take
// their times from. Before Linux 6.13, a write does not change the times of a
// file that changed in the same tick. FAT, and ext4 with inodes of 128 bytes,
// have times of 1 or 2 s.
const timeResolution = 10 * time.Millisecond

// A fileState holds the attributes of an open file that tell whether its content
// may have changed. A write updates both times before it updates the content. A
// program can set the modification time back, but not the change time.
//
// Writes through a shared mapping update the times only with the first store to
// a page after its last writeback.
type fileState struct {
	size              int64
	modified, changed unix.Timespec

	// A new link, the removal of a path, or chmod changes the change time and
	// one of these.
	links          uint64
	mode, uid, gid uint32
}

// stateOf returns the state of the file that info describes.
func stateOf(info fs.FileInfo) fileState {
	sys := info.Sys().(*syscall.Stat_t)
	return fileState{
		size:     sys.Size,
		modified: unix.Timespec(sys.Mtim),
		changed:  unix.Timespec(sys.Ctim),
		links:    uint64(sys.Nlink), //nolint:unconvert // 32 bits on some processors
		mode:     sys.Mode,
		uid:      sys.Uid,
		gid:      sys.Gid,
	}
}

// unchanged reports whether a file that had state s has the same content in
// state t.
func (s *fileState) unchanged(t *fileState) bool {
	if s.size != t.size || s.modified != t.modified {
		return false
	}
	return s.changed == t.changed || s.links != t.links || s.mode != t.mode || s.uid != t.uid || s.gid != t.gid
}

// checkUnchanged returns nil if the file has not changed since it was last known
// to be good, so that an id that was not found does not exist. The caller has
// read the file before. The error is ErrFault if the file was truncated, else
// ErrChanged, or os.ErrClosed.
//
// The system call takes 0.3 to 0.4 µs, a twentieth of a request over HTTP. Nothing
// cheaper is as safe; see docs/design.md. It returns the attributes that the
// kernel has, and never waits for a server of the file system. Before Linux 4.11,
// or if the system call is forbidden, checkUnchanged returns nil.
func (f *File) checkUnchanged() error {
	var x unix.Statx_t
	_, _, errno := unix.RawSyscall6(unix.SYS_STATX, uintptr(f.fd), uintptr(unsafe.Pointer(&noPath)),
		unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(&x)), 0)
	switch errno {
	case 0:
	case unix.ENOSYS, unix.EPERM:
		return nil
	case unix.EBADF:
		return os.ErrClosed
	default:
		return fmt.Errorf("%w: attributes: %w", ErrUnreadable, errno)
	}
	now := fileState{
		size:     int64(x.Size),
		modified: unix.Timespec{Sec: x.Mtime.Sec, Nsec: int64(x.Mtime.Nsec)},
		changed:  unix.Timespec{Sec: x.Ctime.Sec, Nsec: int64(x.Ctime.Nsec)},
		links:    uint64(x.Nlink),
		mode:     uint32(x.Mode),
		uid:      x.Uid,
		gid:      x.Gid,
	}
	switch good := f.good.Load(); {
	case good.unchanged(&now):
		if good.changed != now.changed {
			f.adopt(good, now)
		}
		return nil
	case now.size != f.index.FileLen:
		return ErrFault
	}
	return ErrChanged
}

// noPath is an empty string that ends with a zero, like in C.
var noPath [1]byte

// adopt replaces the state old, which is known to be good, by now. It is a
// function of its own so that a lookup does not allocate.
//
//go:noinline
func (f *File) adopt(old *fileState, now fileState) { f.good.CompareAndSwap(old, &now) }

// state returns the state of the file, from the server of its file system if it
// has one.
func (f *File) state() (fileState, error) {
	info, err := f.file.Stat()
	if err != nil {
		return fileState{}, err
	}
	return stateOf(info), nil
}

// settleTime returns the time until a further write is certain to change s.
func (s *fileState) settleTime() time.Duration {
	return min(timeResolution-time.Since(time.Unix(s.changed.Unix())), timeResolution)
}
