package reader

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// A blockFile is a file that blocks are read from at random. Safe for
// concurrent use, but for close.
//
// A block that is in memory is copied by a read that does not wait. For others
// there is a ring: a goroutine that waits in a plain read keeps its processor
// until the runtime notices, some 50 µs later. What that costs is in the
// contest larger-than-memory/goroutines of the benchmarks.
//
// A file system that cannot read without waiting, as some of FUSE or of a
// network, gets plain reads and no ring: for it the kernel would wait in
// workers of its own, of which it has four a processor, where plain reads have
// as many threads as they need. So does one that is memory itself.
type blockFile struct {
	file *os.File
	fd   int // of file

	mustWait atomic.Bool // plain reads alone: the file system has no others, or the file is closed
	ring     *ring       // nil if there is none
}

// openBlockFile opens once more the file that is open as f: the advice holds
// for an open file, and f is for reading in sequence.
func openBlockFile(f *os.File) (*blockFile, error) {
	file, err := os.Open(reopenPath(f))
	if err != nil {
		return nil, reopenError(err)
	}
	// Without it a lookup in a cold file reads ahead what nobody asked for.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		file.Close()
		return nil, fmt.Errorf("advise %s: %w", f.Name(), err)
	}
	return &blockFile{file: file, fd: int(file.Fd()), ring: newRing()}, nil
}

func (b *blockFile) close() error {
	b.mustWait.Store(true) // which says that it is closed
	err := b.file.Close()
	if b.ring != nil {
		err = errors.Join(err, b.ring.close())
	}
	return err
}

// usesRing reports whether reads that have to wait do so in a ring.
func (b *blockFile) usesRing() bool {
	return b.ring != nil && !b.mustWait.Load() && b.ring.inUse()
}

// read reads the block at off. Whatever goes wrong on the faster ways, a plain
// read has the last word.
func (b *blockFile) read(buf *blockBuffer, off int64) error {
	if !b.mustWait.Load() {
		if b.readNow(buf, off) {
			return nil
		}
		if b.ring != nil && b.ring.read(b.fd, buf, off) {
			return nil
		}
	}
	if n, err := b.file.ReadAt(buf[:], off); n < len(buf) {
		return readError(off+int64(n), err)
	}
	return nil
}

// readNow reads the block at off if it is in memory. If not, Linux begins to
// read it from the disk.
func (b *blockFile) readNow(buf *blockBuffer, off int64) bool {
	iov := unix.Iovec{Base: &buf[0], Len: format.BlockLen}
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, uintptr(b.fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), 0, unix.RWF_NOWAIT)
	if errno == unix.EOPNOTSUPP || errno == unix.ENOSYS {
		b.mustWait.Store(true)
	}
	return errno == 0 && n == format.BlockLen
}
