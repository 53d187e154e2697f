package reader

import (
	"errors"
	"fmt"
	"os"
	"sync"
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
// reads use up to maxReads threads. The same goes for a file system in memory.
//
// Reads beyond the slots of io_uring, or beyond maxReads, wait for a turn, and
// fail with ErrBusy after queueTime. Without a bound, a slow disk would take a
// thread for each client until the process cannot create another, and crashes.
type blockFile struct {
	file *os.File
	fd   int // of file

	plain atomic.Bool // ordinary reads only: the file system supports no others, or the file is closed
	ring  *uring.Ring // nil if there is none

	mapping sync.Once
	mapped  []byte // the file, for isCached; nil if it cannot be mapped
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
	if b.mapped != nil {
		err = errors.Join(err, unix.Munmap(b.mapped))
	}
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
		if b.ring != nil {
			switch b.ring.Read(b.fd, buf[:], off, queueTime) {
			case uring.Done:
				return nil
			case uring.Full:
				return ErrBusy
			}
		}
	}
	return b.readPlain(buf, off)
}

// readPlain reads the block at off by an ordinary read.
func (b *blockFile) readPlain(buf *blockBuffer, off int64) error {
	q := reads
	if !q.tryAcquire() {
		if b.isCached(off) {
			q = cachedReads
		}
		if !q.acquire() {
			return ErrBusy
		}
	}
	defer q.release()
	if n, err := b.file.ReadAt(buf[:], off); n < len(buf) {
		return readError(off+int64(n), err)
	}
	return nil
}

// isCached reports whether the block at off is in the page cache, so that an
// ordinary read does not wait. It reports false where the kernel does not tell:
// before Linux 6.5, and for a file that the process neither owns nor may write.
func (b *blockFile) isCached(off int64) bool {
	// The call of cachestat asks for permission, without which mincore reports
	// that all pages are cached. Cachestat itself also counts pages that are
	// still being read.
	r := unix.CachestatRange{Off: uint64(off), Len: format.BlockLen}
	var stat unix.Cachestat_t
	if unix.Cachestat(uint(b.fd), &r, &stat, 0) != nil || stat.Cache == 0 {
		return false
	}
	b.mapping.Do(func() {
		if info, err := b.file.Stat(); err == nil {
			b.mapped, _ = unix.Mmap(b.fd, 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED) // never touched
		}
	})
	page := off &^ int64(os.Getpagesize()-1)
	if page >= int64(len(b.mapped)) {
		return false
	}
	resident := byte(0)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b.mapped[page])), 1, uintptr(unsafe.Pointer(&resident)))
	return errno == 0 && resident&1 != 0
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
