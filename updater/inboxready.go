package updater

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"promostore/internal/escape"
	"promostore/internal/fsx"
)

// A sighting is the state of a waiting file.
type sighting struct {
	id     fsx.Identity
	since  time.Time // of the first poll that returned id, by the clock of this machine
	warned bool      // that the file is still open
}

// ready returns the names of the waiting files that are complete.
func (x *inbox) ready() ([]string, error) {
	if w := x.dir.watch; w != nil {
		if err := w.Update(); err != nil {
			return nil, err
		}
	}
	waiting, _, err := x.dir.waiting()
	if err != nil {
		return nil, err
	}
	seen := map[place]sighting{}
	var names []string
	for _, info := range waiting {
		at := place{"", info.Name()}
		complete, s := x.isComplete(at, info)
		if complete {
			names = append(names, at.name)
		}
		seen[at] = s
	}
	for at, s := range x.seen { // changed files of buildingDir
		if at.sub != "" {
			if _, err := x.dir.dirs[at.sub].Lstat(at.name); err == nil {
				seen[at] = s
			}
		}
	}
	x.seen = seen
	return names, nil
}

// isComplete reports whether a file may be taken, and returns its sighting for
// the next poll. A file is complete if two polls saw it unchanged, no process
// has it open for writing, and all its bytes have been written. If the kernel does
// not tell whether a process has it open, or it may lack bytes, the file must be
// unchanged for the quiet time. The times of the file are only compared with each
// other, because a writer can set them and a network file system has another clock.
func (x *inbox) isComplete(at place, info fs.FileInfo) (bool, sighting) {
	f, err := x.dir.open(at)
	if err == nil {
		defer f.Close()
		// A listing of NFS has sizes and times from a cache that is up to a minute
		// old. Opening the file reads them again.
		info, err = f.Stat()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fsx.ErrNotRegular):
		return false, sighting{}
	case err == nil:
		err = x.lease(f)
	}
	s := sighting{id: fsx.IdentityOf(info), since: x.now()}
	last, ok := x.seen[at]
	if !ok || !last.id.Equal(s.id) {
		return false, s
	}
	s = last
	isQuiet := x.now().Sub(s.since) >= x.quiet
	name := escape.Name(at.name)
	switch {
	case errors.Is(err, fsx.ErrWritten), at.sub == "" && x.dir.isCreating(at.name):
		if isQuiet && !s.warned {
			s.warned = true
			x.log.Warn("inbox file waits until the process that writes it closes it", "name", name)
		}
		return false, s
	case err != nil:
		if !x.saidQuiet {
			x.saidQuiet = true
			x.log.Warn("cannot tell whether a process writes to an inbox file; such files are taken after a time without a change",
				"name", name, "seconds", x.quiet.Seconds(), "error", err)
		}
		return isQuiet, s
	case hasGaps(f, s.id.Size):
		return isQuiet, s
	}
	if !x.saidLease {
		x.saidLease = true
		x.log.Info("inbox files are taken when no process has them open for writing", "name", name)
	}
	return true, s
}

// hasGaps reports whether a file of size bytes looks as if its space was
// reserved before its content is written: it is empty, ends with zero bytes, or
// has a hole. One program may reserve the space and another write the content;
// no process has the file open in between.
func hasGaps(f *os.File, size int64) bool {
	const tail = 16 // more than the zero bytes at the end of gzip, which are part of its length
	last := make([]byte, min(size, tail))
	if _, err := f.ReadAt(last, size-int64(len(last))); err != nil {
		return true
	}
	if len(bytes.Trim(last, "\x00")) == 0 {
		return true
	}
	hole, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	hasHole := err == nil && hole < size
	_, err = f.Seek(0, io.SeekStart)
	return hasHole || err != nil
}

// errGaps reports a file that has gaps after the quiet time.
var errGaps = malformed("the file has a hole or ends with zero bytes: its space was reserved, but its content is not complete")

// isCompressed reports whether f begins like gzip or zstd, which zero bytes may
// follow.
func isCompressed(f *os.File) bool {
	var b [2]byte
	_, err := f.ReadAt(b[:], 0)
	return err == nil && (b == [2]byte{0x1f, 0x8b} || b == [2]byte{0x28, 0xb5})
}

// unchanged returns the identity of f. The error is errChanged if its content
// differs from that of the identity since, and fsx.ErrWritten if a process has it
// open for writing. The move to buildingDir is no change, and a zero identity
// is not compared.
func (x *inbox) unchanged(f *os.File, since fsx.Identity) (fsx.Identity, error) {
	info, err := f.Stat()
	if err != nil {
		return fsx.Identity{}, err
	}
	id := fsx.IdentityOf(info)
	if since != (fsx.Identity{}) && !id.SameContent(since) {
		return id, errChanged
	}
	if err := x.lease(f); errors.Is(err, fsx.ErrWritten) {
		return id, err
	}
	return id, nil
}
