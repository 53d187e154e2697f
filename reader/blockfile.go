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
// reads use a thread each. The same goes for a file system in memory.
//
// A read that does not wait, but misses the page cache, makes Linux read the
// block from the disk all the same. Therefore only maxUnqueued lookups try it at
// a time, and these finish. Others first ask whether their block is cached, and
// if not wait for a turn in a queue. Those that get none in queueTime fail with
// ErrBusy and have not touched the disk. Otherwise, with 1,500 clients and a disk
// of 200 reads per second, the disk read 0.9 blocks for each refused lookup, and
// other lookups waited a minute. Without any bound, a slow disk would also take a
// thread for each client until the process cannot create another, and crashes.
type blockFile struct {
	file *os.File
	fd   int // of file

	plain atomic.Bool // ordinary reads only: the file system supports no others, or the file is closed
	ring  *ring       // nil: none

	mapping sync.Once
	mapped  []byte // the file and one more page, for isCached; see mapFile
}

// A blockBuffer receives a block. It has a lane, so that lookups on different
// processors count their reads in different places.
type blockBuffer struct {
	block [format.BlockLen]byte
	lane  *lane
}

var (
	blockBuffers = sync.Pool{New: func() any { return newBlockBuffer() }}
	numBuffers   atomic.Uint32
)

func newBlockBuffer() *blockBuffer {
	return &blockBuffer{lane: &lanes[numBuffers.Add(1)%numLanes]}
}

// A ring reads blocks through io_uring, for all files of a generation: they share
// a disk, and a ring has a goroutine and descriptors.
type ring struct {
	*uring.Ring
	turns *queue // for queued reads
}

// openRing returns a ring, or nil if the kernel has none.
func openRing() *ring {
	r, err := uring.New()
	if err != nil {
		return nil
	}
	return &ring{r, newQueue(uring.Len - maxUnqueued)}
}

// close closes r, which may be nil. No read may be under way.
func (r *ring) close() error {
	if r == nil {
		return nil
	}
	return r.Close()
}

// openBlockFile opens the file again that is open as f: the advice on access
// applies to an open file, and f is read sequentially. The ring, which may be nil,
// must stay open until the blockFile is closed.
func openBlockFile(f *os.File, r *ring) (*blockFile, error) {
	file, err := os.Open(reopenPath(f))
	if err != nil {
		return nil, reopenError(err)
	}
	// Otherwise a lookup in a cold file also reads the following blocks.
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		file.Close()
		return nil, fmt.Errorf("advise %s: %w", f.Name(), err)
	}
	return &blockFile{file: file, fd: int(file.Fd()), ring: r}, nil
}

func (b *blockFile) close() error {
	b.plain.Store(true) // an ordinary read returns os.ErrClosed
	err := b.file.Close()
	if b.mapped != nil {
		err = errors.Join(err, unix.Munmap(b.mapped))
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
	if buf.lane.tryEnter() {
		defer buf.lane.leave()
		if b.readCached(buf, off) || b.usesRing() && b.ring.Read(b.fd, buf.block[:], off) {
			return nil
		}
		return b.readPlain(buf, off)
	}
	cached := b.isCached(off)
	if cached && b.readCached(buf, off) {
		return nil
	}
	q := reads
	if b.usesRing() {
		if !b.ring.turns.acquire() {
			return ErrBusy
		}
		done := b.ring.Read(b.fd, buf.block[:], off)
		b.ring.turns.release()
		if done {
			return nil
		}
	} else if cached {
		q = cachedReads
	}
	if !q.acquire() {
		return ErrBusy
	}
	defer q.release()
	return b.readPlain(buf, off)
}

// readPlain reads the block at off by an ordinary read.
func (b *blockFile) readPlain(buf *blockBuffer, off int64) error {
	if n, err := b.file.ReadAt(buf.block[:], off); n < len(buf.block) {
		return readError(off+int64(n), err)
	}
	return nil
}

// isCached reports whether the block at off is in the page cache, so that a
// read does not wait. It reports false where the kernel does not tell; such a
// block waits for its turn like the others, because any attempt to read it might
// occupy the disk.
func (b *blockFile) isCached(off int64) bool {
	b.mapping.Do(b.mapFile)
	page := off &^ int64(os.Getpagesize()-1)
	if page >= int64(len(b.mapped)) {
		return false
	}
	cached, err := isResident(b.mapped[page:])
	return cached && err == nil
}

// mapFile maps the file with a page after its end. The mapping is never touched.
//
// The kernel tells the owner of a file, and users who may write it, which pages
// are cached. It tells the others that every page is, including the page after
// the end, which cannot be. Then mapFile leaves mapped nil, as it does without
// address space.
func (b *blockFile) mapFile() {
	info, err := b.file.Stat()
	if err != nil {
		return
	}
	pageLen := int64(os.Getpagesize())
	end := (info.Size() + pageLen - 1) &^ (pageLen - 1)
	m, err := unix.Mmap(b.fd, 0, int(end+pageLen), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return
	}
	if lies, err := isResident(m[end:]); lies || err != nil {
		_ = unix.Munmap(m)
		return
	}
	b.mapped = m
}

// isResident reports whether the first page of m, a part of a mapping, is in the
// page cache.
func isResident(m []byte) (bool, error) {
	var resident byte
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), 1, uintptr(unsafe.Pointer(&resident)))
	if errno != 0 {
		return false, errno
	}
	return resident&1 != 0, nil
}

// readCached reads the block at off if it is in the page cache. If not, Linux
// begins to read it from the disk. That blocks the thread while the disk has too
// many requests, although the read should not wait.
func (b *blockFile) readCached(buf *blockBuffer, off int64) bool {
	if b.plain.Load() {
		return false
	}
	iov := unix.Iovec{Base: &buf.block[0], Len: format.BlockLen}
	n, _, errno := unix.Syscall6(unix.SYS_PREADV2, uintptr(b.fd), uintptr(unsafe.Pointer(&iov)), 1, uintptr(off), 0, unix.RWF_NOWAIT)
	if errno == unix.EOPNOTSUPP || errno == unix.ENOSYS {
		b.plain.Store(true)
	}
	return errno == 0 && n == format.BlockLen
}
