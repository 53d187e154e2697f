package reader

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/sysmem"
	"promostore/reader/learned"
)

// ErrFault reports that a file was truncated or overwritten after it was
// opened. The File is of no further use.
var ErrFault = errors.New("file changed after it was opened")

// ErrUnreadable reports that the file system returned an error for a read of an
// open file, as a disk or a network does that fails for a while. Other parts of
// the file may be readable, and the lookup may succeed later.
var ErrUnreadable = errors.New("file cannot be read at present")

// errPage reports that a page of a mapping cannot be read. File.pageError finds
// out why.
var errPage = errors.New("a page of the mapping cannot be read")

// Access is the way in which lookups read the blocks of a file. Open chooses it
// once.
type Access int

// The ways of access.
const (
	AccessAuto  Access = iota // AccessMmap for generations that fit in memory, else AccessPread
	AccessMmap                // a mapping: fastest for a file that stays in memory
	AccessPread               // one read per lookup: for a file larger than memory
)

// String returns auto, mmap or pread.
func (a Access) String() string {
	switch a {
	case AccessAuto:
		return "auto"
	case AccessMmap:
		return "mmap"
	case AccessPread:
		return "pread"
	}
	return fmt.Sprintf("Access(%d)", int(a))
}

// resolve returns the access for files of that size together.
func (a Access) resolve(size int64) Access {
	if a != AccessAuto {
		return a
	}
	// A quarter of the memory remains for the heap, for other programs and for
	// the next generation.
	if size <= sysmem.Available()/4*3 {
		return AccessMmap
	}
	return AccessPread
}

// A File is an open generation file. All methods but Close are safe for
// concurrent use.
type File struct {
	path   string // that Open was given
	index  *format.Index
	fences fenceIndex
	mmap   *mmapSource                   // with AccessMmap, else nil
	pread  *preadSource                  // with AccessPread, else nil
	ring   *ring                         // that Close closes; nil: none
	model  atomic.Pointer[learned.Model] // trained from the records; with AccessMmap, once verified

	verified atomic.Bool
	failure  atomic.Pointer[failure] // of a read that has not succeeded since; nil: none

	// file is read sequentially, instead of the mapping: a goroutine that waits
	// for a page fault keeps its processor, one that waits for a read does not.
	file   *os.File
	fd     int // of file; -1 after Close
	opened fsx.Identity
	good   atomic.Pointer[fileState] // when the content was last known to be good

	closing  sync.Once
	closeErr error
}

// Open opens the file at path and checks everything but its blocks. The header
// identifies the file; path may have any name. The caller closes the File.
//
// The error wraps fsx.ErrNotRegular, an error of package format, ErrFault if
// the file changed meanwhile, or an error of the file system.
func Open(path string, access Access) (*File, error) {
	f, err := openIndex(path)
	if err != nil {
		return nil, err
	}
	access = access.resolve(f.index.FileLen)
	if access == AccessPread {
		f.ring = openRing()
	}
	if err := f.openBlocks(access, f.ring); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// openIndex is Open for a File without access to blocks; see openBlocks.
func openIndex(path string) (*File, error) {
	file, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	f := &File{path: path, file: file, fd: int(file.Fd())}
	if err := f.readIndex(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

func (f *File) readIndex() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	f.opened = fsx.IdentityOf(info)
	state := stateOf(info)
	f.good.Store(&state)
	if f.index, err = format.Open(f.file, info.Size()); err != nil {
		return err
	}
	if f.fences, err = newFenceIndex(f.file, f.index); err != nil {
		return fmt.Errorf("fences: %w", err)
	}
	return nil
}

// openBlocks makes f ready for lookups, by AccessMmap or AccessPread. With
// AccessPread, these use the ring, which may be nil and must stay open until f is
// closed.
func (f *File) openBlocks(access Access, r *ring) (err error) {
	if access == AccessMmap {
		f.mmap, err = openMmap(f.file, f.index, &f.fences)
	} else {
		f.pread, err = openPread(f.file, f.index, &f.fences, r)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

// Header returns the header of the file. The caller must not change it.
func (f *File) Header() *format.Header { return &f.index.Header }

// Styles returns the dictionary of timestamp styles. The caller must not change it.
func (f *File) Styles() []format.TimestampStyle { return f.index.Styles }

// ID returns the generation in the header.
func (f *File) ID() generation.ID { return generation.ID(f.index.Generation) }

// Index returns the index of the file. The caller must not change it.
func (f *File) Index() *format.Index { return f.index }

// Access returns AccessMmap or AccessPread.
func (f *File) Access() Access {
	if f.mmap != nil {
		return AccessMmap
	}
	return AccessPread
}

// UsesRing reports whether lookups that miss the page cache are read through
// io_uring. With AccessPread they are, unless the kernel or the file system
// lacks support.
func (f *File) UsesRing() bool { return f.pread != nil && f.pread.file.usesRing() }

// Close unmaps and closes the file. No other method may run at the same time.
// After Close, lookups return an error that wraps os.ErrClosed; a second Close
// does nothing and returns the same error as the first.
func (f *File) Close() error {
	f.closing.Do(func() {
		f.closeErr = f.file.Close()
		f.fd = -1
		if f.mmap != nil {
			f.closeErr = errors.Join(f.closeErr, f.mmap.close())
		}
		if f.pread != nil {
			f.closeErr = errors.Join(f.closeErr, f.pread.close())
		}
		f.closeErr = errors.Join(f.closeErr, f.ring.close())
	})
	return f.closeErr
}

// change describes the size and times of the file, when it was opened and now.
func (f *File) change() string {
	now, err := f.state()
	if err != nil {
		return err.Error()
	}
	text := func(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }
	return fmt.Sprintf("when it was opened: %d bytes, modified at %s; now: %d bytes, modified at %s, attributes changed at %s",
		f.opened.Size, text(f.opened.ModTime),
		now.size, text(time.Unix(now.modified.Unix())), text(time.Unix(now.changed.Unix())))
}

// reopenPath returns a path that opens the file of f again, even if its own path
// names another file by now.
func reopenPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// reopenError returns the error for a reopenPath that cannot be opened. If the
// path does not exist, then /proc is missing, not the file, and the error must
// not be taken for that of a removed file.
func reopenError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("/proc/self/fd does not exist: is /proc mounted?")
	}
	return err
}

// readError returns the error for a read that ended at off, before the end of
// the file according to its header.
func readError(off int64, err error) error {
	switch {
	case errors.Is(err, os.ErrClosed):
		return err
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it ends at offset %d", ErrFault, off)
	}
	return fmt.Errorf("%w: read at offset %d: %w", ErrUnreadable, off, err)
}

// A failure is a lookup whose error wraps ErrUnreadable.
type failure struct{ key format.Key }

// pageError returns ErrFault or ErrUnreadable in place of errPage: a page is
// missing because the file was truncated, or because the file system failed.
func (f *File) pageError(err error) error {
	if !errors.Is(err, errPage) {
		return err
	}
	if info, statErr := f.file.Stat(); statErr == nil && info.Size() < f.index.FileLen {
		return fmt.Errorf("%w: %w", ErrFault, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreadable, err)
}
