// Package reader opens generation files, looks promotions up in them, and
// moves a server from one generation to the next.
//
// A File is one open file; a Store is a directory of them, of which one is
// live. What it does not promise: that a file which was opened but not
// verified has good blocks. A lookup in a damaged block ends in an error or in
// "not found", never in a panic.
package reader

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/sysmem"
)

// ErrFault says that the file was cut or written to after it was opened, or
// could not be read. The file should not be used any more.
var ErrFault = errors.New("the file changed underneath")

// Access is how a lookup gets at a block of the file. It is chosen once, when
// the file is opened.
type Access int

// The ways of access.
const (
	AccessAuto  Access = iota // mmap where the file fits into memory, else pread
	AccessMmap                // a mapping: fastest for a file that stays in memory
	AccessPread               // one read a lookup: for a file larger than memory
)

// String is the name of a as a flag has it.
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

// A File is an open generation file. Safe for concurrent use, but for Close.
type File struct {
	index  *format.Index
	fences fenceTable
	mapped *mapping                  // in mmap mode, else nil
	blocks *blocks                   // in pread mode, else nil
	ranks  atomic.Pointer[rankTable] // in mmap mode, once verified

	verified atomic.Bool

	// file is for what reads in sequence: a goroutine that waits in a page
	// fault keeps its processor, one that waits in a read does not.
	file   *os.File
	opened fsx.Identity

	tenure *tenure // if a Store opened the file

	closing  sync.Once
	closeErr error
}

// Open opens the file with this path and checks everything but its blocks. The
// path may have any name: what is opened is what the header says. The caller
// closes the File.
//
// The error wraps fsx.ErrNotRegular, an error of package format, ErrFault if the
// file changed meanwhile, or one of the file system.
func Open(path string, access Access) (*File, error) {
	file, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	f := &File{file: file}
	if err := f.open(access); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return f, nil
}

func (f *File) open(access Access) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	f.opened = fsx.IdentityOf(info)
	if f.index, err = format.Open(f.file, info.Size()); err != nil {
		return err
	}
	if f.fences, err = newFenceTable(f.file, f.index); err != nil {
		return fmt.Errorf("fences: %w", err)
	}
	if access == AccessAuto {
		access = AccessPread
		// A quarter is left for the heap, for other programs and for the
		// generation that comes next.
		if info.Size() <= sysmem.Available()/4*3 {
			access = AccessMmap
		}
	}
	if access == AccessMmap {
		f.mapped, err = openMapping(f.file, f.index, &f.fences)
	} else {
		f.blocks, err = openBlocks(f.file, f.index, &f.fences)
	}
	return err
}

// Header is the header of the file. Not to be changed.
func (f *File) Header() *format.Header { return &f.index.Header }

// Styles is the dictionary of the file. Not to be changed.
func (f *File) Styles() []format.TimestampStyle { return f.index.Styles }

// ID is the generation that the header names.
func (f *File) ID() generation.ID { return generation.ID(f.index.Generation) }

// Index is all of the file but its blocks. Not to be changed.
func (f *File) Index() *format.Index { return f.index }

// Access is how lookups reach the blocks: AccessMmap or AccessPread.
func (f *File) Access() Access {
	if f.mapped != nil {
		return AccessMmap
	}
	return AccessPread
}

// UsesRing reports whether lookups that have to wait for the disk do so in
// io_uring: those of AccessPread, unless the kernel or the file system has it
// not.
func (f *File) UsesRing() bool { return f.blocks != nil && f.blocks.file.usesRing() }

// Get copies the record of key out of the file. It does not allocate.
//
// The error wraps ErrFault if the file cannot be read any more, or is damaged
// although it was verified, and format.ErrCorrupt if the block is damaged.
func (f *File) Get(key format.Key) (r format.Record, found bool, err error) {
	known := false
	if t := f.ranks.Load(); t != nil {
		if x, ok := t.position(key); ok {
			found, known, err = f.mapped.findNear(key, t, x, &r)
		}
	}
	if !known && err == nil {
		found, err = f.find(key, &r)
	}
	if found && !r.Validate(len(f.index.Styles)) {
		err = fmt.Errorf("%w: price or date is out of its limits", format.ErrCorrupt)
	}
	if err != nil {
		return format.Record{}, false, f.lookupError(key, err)
	}
	return r, found, nil
}

// lookupError is err as Get gives it.
func (f *File) lookupError(key format.Key, err error) error {
	err = fmt.Errorf("lookup of %s: %w", key, err)
	if errors.Is(err, format.ErrCorrupt) && f.verified.Load() {
		err = fmt.Errorf("%w: %w", ErrFault, err) // it was good
	}
	if errors.Is(err, ErrFault) {
		err = fmt.Errorf("%w; %s", err, f.change())
	}
	return err
}

// find is Get by way of the fences.
func (f *File) find(key format.Key, r *format.Record) (found bool, err error) {
	if x := f.index; key.Less(x.MinKey) || x.MaxKey.Less(key) || x.Records == 0 {
		return false, nil
	}
	if f.mapped != nil {
		return f.mapped.find(key, r)
	}
	return f.blocks.find(key, r)
}

// Scan calls yield with every record in the order of the ids, some at a time,
// each checked before as by Verify. yield may use their memory until it
// returns; its error ends Scan.
func (f *File) Scan(ctx context.Context, yield func([]format.Record) error) error {
	return f.index.Scan(f.file, func(records []format.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return yield(records)
	})
}

// change says how the file is now, and how it was when it was opened.
func (f *File) change() string {
	info, err := f.file.Stat()
	if err != nil {
		return err.Error()
	}
	const layout = "2006-01-02T15:04:05.999999999Z"
	return fmt.Sprintf("%d bytes of %s now, %d bytes of %s when it was opened",
		info.Size(), info.ModTime().UTC().Format(layout), f.opened.Size, f.opened.ModTime.UTC().Format(layout))
}

// warm brings the pages of a mapping into the page table, once Verify has
// brought them into memory.
func (f *File) warm(ctx context.Context) error {
	if f.mapped == nil {
		return nil
	}
	if err := f.mapped.warm(ctx); err != nil {
		return fmt.Errorf("page table: %w", err)
	}
	return nil
}

// reopenPath is a name under which what is open as f can be opened once more,
// whatever has its name by now.
func reopenPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// reopenError is why a reopenPath could not be opened. That it does not exist
// says nothing about the file, and must not look as if the file were gone.
func reopenError(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("/proc/self/fd, which open files are reached through, is not there: is /proc mounted?")
	}
	return err
}

// Close unmaps and closes the file. It must not run while another method does;
// a Store sees to that. It is idempotent. Afterwards Get returns an error.
func (f *File) Close() error {
	f.closing.Do(func() {
		f.closeErr = f.file.Close()
		if f.mapped != nil {
			f.closeErr = errors.Join(f.closeErr, f.mapped.close())
		}
		if f.blocks != nil {
			f.closeErr = errors.Join(f.closeErr, f.blocks.close())
		}
	})
	return f.closeErr
}

// readError is why a file, whose length was checked, ends at off.
func readError(off int64, err error) error {
	switch {
	case errors.Is(err, os.ErrClosed):
		return err
	case err == nil || errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it ends at offset %d", ErrFault, off)
	}
	return fmt.Errorf("%w: read at offset %d: %w", ErrFault, off, err)
}
