package fsx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// A Watch knows which files of a directory are still open in the process that
// created them, owned by any user. It knows nothing of files that were there
// before it, of files that were moved into the directory, and of processes on
// other hosts. Not safe for concurrent use.
type Watch struct {
	fd   int
	open map[string]bool
}

// Watch starts to watch the files that are created in d from now on.
func (d *Dir) Watch() (*Watch, error) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("inotify_init1", err)
	}
	const events = unix.IN_CREATE | unix.IN_OPEN | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO
	path := fmt.Sprintf("/proc/self/fd/%d", d.f.Fd()) // d, wherever its path leads
	if _, err := unix.InotifyAddWatch(fd, path, events|unix.IN_ONLYDIR|unix.IN_EXCL_UNLINK); err != nil {
		unix.Close(fd)
		return nil, &os.PathError{Op: "inotify_add_watch", Path: d.Name(), Err: err}
	}
	return &Watch{fd, map[string]bool{}}, nil
}

// IsOpen reports whether the file name was open in the process that created it
// at the latest Update. If it returns false another process may have it open.
func (w *Watch) IsOpen(name string) bool { return w.open[name] }

// Update learns what happened since the previous Update.
func (w *Watch) Update() error {
	b := make([]byte, 64<<10)
	created := map[string]bool{} // and not opened; a new link is never opened
	moved := map[uint32]bool{}   // cookies of open files
	for {
		n, err := unix.Read(w.fd, b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("inotify read", err)
		}
		for events := b[:n]; len(events) >= unix.SizeofInotifyEvent; {
			mask := binary.NativeEndian.Uint32(events[4:])
			cookie := binary.NativeEndian.Uint32(events[8:])
			end := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(events[12:]))
			padded, _, _ := bytes.Cut(events[unix.SizeofInotifyEvent:end], []byte{0})
			name := string(padded)
			events = events[end:]
			switch {
			case mask&unix.IN_Q_OVERFLOW != 0: // events are missing
				clear(w.open)
			case mask&unix.IN_ISDIR != 0:
			case mask&unix.IN_CREATE != 0:
				created[name] = true
			case mask&unix.IN_OPEN != 0:
				if created[name] { // by the creator, right after the creation
					delete(created, name)
					w.open[name] = true
				}
			case mask&unix.IN_MOVED_FROM != 0:
				moved[cookie] = w.open[name]
				delete(w.open, name)
			case mask&unix.IN_MOVED_TO != 0:
				delete(w.open, name) // of a replaced file
				if moved[cookie] {
					w.open[name] = true
				}
			default: // closed or deleted
				delete(w.open, name)
			}
		}
	}
}

// Close ends the watch.
func (w *Watch) Close() error { return unix.Close(w.fd) }
