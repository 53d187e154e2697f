package reader

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/internal/uring"
)

// A blockFile reads blocks in random order. All methods but close are safe for
// concurrent use.
//
// A block in the page cache is copied by a read that does not wait. The others
// are read through io_uring: a goroutine that waits for an ordinary read keeps
// its processor until the runtime notices, some 50 µs later.
//
// A file system that cannot read without waiting, as FUSE and network file
// systems often cannot, gets ordinary reads only. io_uring would hand these to
// workers of the kernel, of which it has four per processor, whereas ordinary
// reads use as many threads as they need. The same goes for a file system in
// memory.
type blockFile struct {
	file *os.File
	fd   int // of file

	plain atomic.Bool // ordinary reads only: the file system supports no others, or the file is closed
	ring  *uring.Ring // nil if there is none
}

// openBlockFile opens the file again that is open as f: the advice on access
// applies to an open file, and f is read sequentially.
func openBlockFile(f *os.File) (*blockFile, error) {
	file, err := os.Open(reopenPath(f))
	if err != nil {
		return nil, reopenError(err)
	}
	// Otherwise a lookup in a cold file also reads the following blocks.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		file.Close()
		return nil, fmt.Errorf("advise %s: %w", f.Name(), err)
	}
	b := &blockFile{file: file, fd: int(file.Fd())}
	if ring, err := uring.New(); err == nil {
		b.ring = ring
	}
	return b, nil
}

func (b *blockFile) close() error {
	b.plain.Store(true) // an ordinary read returns os.ErrClosed
	err := b.file.Close()
	if b.ring != nil {
		err = errors.Join(err, b.ring.Close())
	}
	return err
}

// usesRing reports whether reads that miss the page cache go through io_uring.
func (b *blockFile) usesRing() bool {
	return b.ring != nil && !b.plain.Load() && b.ring.Usable()
}

// read reads the block at off. If the faster ways fail for any reason, an
// ordinary read decides.
func (b *blockFile) read(buf *blockBuffer, off int64) error {
	if !b.plain.Load() {
		if b.readCached(buf, off) {
			return nil
		}
		if b.ring != nil && b.ring.Read(b.fd, buf[:], off) {
			return nil
		}
	}
	if n, err := b.file.ReadAt(buf[:], off); n < len(buf) {
		return readError(off+int64(n), err)
	}
	return nil
}

// readCached reads the block at off if it is in the page cache. If not, Linux
// begins to read it from the disk.
func (b *blockFile) readCached(buf *blockBuffer, off int64) bool {
	iov := unix.Iovec{Base: &buf[0], Len: format.BlockLen}
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, uintptr(b.fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), 0, unix.RWF_NOWAIT)
	if errno == unix.EOPNOTSUPP || errno == unix.ENOSYS {
		b.plain.Store(true)
	}
	return errno == 0 && n == format.BlockLen
}
