package builder

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// Direct I/O. What is spilled, and a large generation, goes past the page
// cache, where the file system can do that: to write a GB through the page
// cache takes 1.2 to 2.2 s of a processor here, most of it for the cache's own
// memory, and past it 0.02 s.

// Direct I/O needs memory, offsets and lengths in multiples of directLen.
const (
	directLen     = 4096
	directRecords = directLen / format.RecordLen
)

// A directFile is a file that is read and written past the page cache. Safe
// for concurrent use.
type directFile struct {
	*os.File
}

// newDirectFile takes f over. That a file system cannot do direct I/O costs
// time only.
func newDirectFile(f *os.File) *directFile {
	d := &directFile{f}
	_ = d.setDirect(unix.O_DIRECT)
	return d
}

func (d *directFile) setDirect(flag int) error {
	flags, err := unix.FcntlInt(d.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(d.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT|flag)
	}
	return err
}

// Some file systems take the flag and refuse the work.

func (d *directFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := d.File.ReadAt(b, off)
	if errors.Is(err, unix.EINVAL) && d.setDirect(0) == nil {
		n, err = d.File.ReadAt(b, off)
	}
	return n, err
}

func (d *directFile) WriteAt(b []byte, off int64) (int, error) {
	n, err := d.File.WriteAt(b, off)
	if errors.Is(err, unix.EINVAL) && d.setDirect(0) == nil {
		n, err = d.File.WriteAt(b, off)
	}
	return n, err
}

// punch gives the disk of a part of the file back.
func (d *directFile) punch(off, n int64) error {
	return unix.Fallocate(int(d.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// A directWriter writes what is large past the page cache and the rest through
// it. Safe for concurrent use.
type directWriter struct {
	*os.File
	direct  *directFile
	buffers chan []byte // aligned
}

// newDirectWriter writes to file, which stays the caller's.
func newDirectWriter(file *os.File, buffers [][]byte) (*directWriter, error) {
	f, err := os.OpenFile(file.Name(), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	w := &directWriter{file, newDirectFile(f), make(chan []byte, len(buffers))}
	for _, b := range buffers {
		w.buffers <- b
	}
	return w, nil
}

// close does not close the file.
func (w *directWriter) close() error { return w.direct.Close() }

// minDirect is how many bytes are worth a write of their own to the disk.
const minDirect = 16 * directLen

func (w *directWriter) WriteAt(b []byte, off int64) (n int, err error) {
	if off%directLen != 0 || len(b)%directLen != 0 || len(b) < minDirect {
		return w.File.WriteAt(b, off)
	}
	buf := <-w.buffers
	defer func() { w.buffers <- buf }()
	for n < len(b) {
		m, err := w.direct.WriteAt(buf[:copy(buf, b[n:])], off+int64(n))
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}
