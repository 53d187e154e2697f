package extsort

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// Direct I/O. The spill and a large output are written past the page cache if
// the file system supports O_DIRECT. One GB through the page cache takes 1.2 to
// 2.2 s of processor time, most of it for the memory of the cache; past it, it
// takes 0.02 s.

// Direct I/O needs memory, offsets and lengths that are multiples of directLen.
const (
	directLen     = 4096
	directRecords = directLen / format.RecordLen
)

// A directFile is a file that is read and written past the page cache. It is
// safe for concurrent use.
type directFile struct {
	*os.File
}

// newDirectFile returns f as a directFile, which owns it. On a file system
// without direct I/O it uses the page cache.
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

// Some file systems accept the flag and reject the I/O. ReadAt and WriteAt then
// clear the flag and try again.

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

// punch releases the disk space of a part of the file.
func (d *directFile) punch(off, n int64) error {
	return unix.Fallocate(int(d.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

// WriteBuffers hold the buffers that DirectWriters share.
type WriteBuffers chan []byte

func newWriteBuffers(buffers [][]byte) WriteBuffers {
	c := make(WriteBuffers, len(buffers))
	for _, b := range buffers {
		c <- b
	}
	return c
}

// A DirectWriter writes large data to a file past the page cache, and the rest
// through it. It is safe for concurrent use.
type DirectWriter struct {
	file    *os.File
	direct  *directFile
	buffers WriteBuffers
}

// NewDirectWriter returns a writer for file, which the caller must close after
// the writer. buffers come from Sorter.WriteBuffers.
func NewDirectWriter(file *os.File, buffers WriteBuffers) (*DirectWriter, error) {
	f, err := os.OpenFile(file.Name(), os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return &DirectWriter{file, newDirectFile(f), buffers}, nil
}

// Close closes the writer, but not the file.
func (w *DirectWriter) Close() error { return w.direct.Close() }

// minDirect is the smallest size, in bytes, that is worth a direct write.
const minDirect = 16 * directLen

// ReadAt reads through the page cache, which is coherent with direct writes.
func (w *DirectWriter) ReadAt(b []byte, off int64) (int, error) { return w.file.ReadAt(b, off) }

// WriteAt implements io.WriterAt. It copies b to an aligned buffer for a direct
// write.
func (w *DirectWriter) WriteAt(b []byte, off int64) (n int, err error) {
	if off%directLen != 0 || len(b)%directLen != 0 || len(b) < minDirect {
		return w.file.WriteAt(b, off)
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
