package reader

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// A ring reads blocks through io_uring: goroutines wait for the disk as they
// wait for a network, without a thread or a processor. Safe for concurrent use,
// but for close.
type ring struct {
	made    time.Time
	file    *os.File // the ring itself, which the runtime polls for answers
	fd      int
	enter   func(n uint32) (taken uint32, err error) // tells the kernel of n submissions
	shared  []byte                                   // with the kernel: both queues
	entries []byte                                   // and the entries of the first

	mu         sync.Mutex
	tail       uint32 // of the submissions, as far as they are written
	added      uint32 // of them, those that the kernel was not told of yet
	submitting bool   // somebody is telling the kernel, and looks again
	refusals   int    // in a row: how often the kernel took no read
	pause      time.Duration

	sq, cq queueOffsets
	free   chan uint32           // slots
	slots  [ringLen]chan int32   // where the answer to a slot's read goes
	bufs   [ringLen]*blockBuffer // what a slot reads into
	reaped chan struct{}         // closed when nobody looks for answers any more
	over   atomic.Bool

	handed sync.WaitGroup // goroutines that tell the kernel in place of a reader
	paused atomic.Int64   // until when, in ns of the Unix epoch; 0 if the kernel takes reads
}

// ringLen is how many reads a ring has under way at most. More wait in plain
// reads. A disk that is served by one queue has no use for more.
const ringLen = 256

// maxRefusals in a row pause the use of a ring, for pauseTime. One is for want
// of memory, as a rule, which comes back.
const (
	maxRefusals = 8
	pauseTime   = time.Second
)

// maxTurns is how often one reader tells the kernel of the reads of others
// before it waits for its own.
const maxTurns = 16

// What the kernel has in linux/io_uring.h, and package unix does not.
const (
	opRead         = 22         // IORING_OP_READ, of Linux 5.6
	offSubmissions = 0          // IORING_OFF_SQ_RING
	offEntries     = 0x10000000 // IORING_OFF_SQES
	featSingleMmap = 1 << 0     // IORING_FEAT_SINGLE_MMAP, of Linux 5.4
	featCurPos     = 1 << 3     // IORING_FEAT_RW_CUR_POS, of Linux 5.6
	submissionLen  = 64         // of struct io_uring_sqe
	completionLen  = 16         // of struct io_uring_cqe
)

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sq, cq                                                             queueOffsets
}

// queueOffsets is struct io_sqring_offsets or io_cqring_offsets, which differ
// behind the fourth: where the fields of a queue are in the shared memory.
type queueOffsets struct {
	head, tail, mask, entries uint32
	a, b, c, d                uint32
	_                         uint64
}

func (o *queueOffsets) array() uint32 { return o.c } // of sq
func (o *queueOffsets) cqes() uint32  { return o.b } // of cq

// A submission is the part of struct io_uring_sqe that a read needs.
type submission struct {
	op, flags uint8
	ioprio    uint16
	fd        int32
	off       uint64
	addr      uint64
	len       uint32
	rwFlags   uint32
	user      uint64 // a ticket
	_         [24]byte
}

type completion struct {
	user  uint64 // as in the submission
	res   int32
	flags uint32
}

var (
	_ [submissionLen]byte = [unsafe.Sizeof(submission{})]byte{}
	_ [completionLen]byte = [unsafe.Sizeof(completion{})]byte{}
	_ [120]byte           = [unsafe.Sizeof(ringParams{})]byte{}
)

// newRing makes a ring, or returns nil where the kernel has none or forbids it,
// as the seccomp profiles of containers often do. A profile that kills instead
// kills here, where a file is opened, and not at some read later.
func newRing() *ring {
	r := &ring{made: time.Now(), pause: pauseTime, free: make(chan uint32, ringLen), reaped: make(chan struct{})}
	if err := r.open(); err != nil {
		r.unmap()
		return nil
	}
	for i := range r.slots {
		r.slots[i] = make(chan int32, 1)
		r.free <- uint32(i)
	}
	conn, err := r.file.SyscallConn()
	if err == nil {
		err = r.file.SetReadDeadline(time.Time{}) // fails if the runtime does not poll it
	}
	if err != nil {
		r.unmap()
		return nil
	}
	go r.reap(conn)
	return r
}

func (r *ring) open() error {
	var p ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, ringLen, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return errno
	}
	r.fd = int(fd)
	if err := unix.SetNonblock(r.fd, true); err != nil { // or else the runtime does not poll it
		return errors.Join(err, unix.Close(r.fd))
	}
	r.file = os.NewFile(fd, "io_uring")
	const need = featSingleMmap | featCurPos // which came with opRead
	if p.features&need != need {
		return errors.ErrUnsupported
	}
	r.sq, r.cq = p.sq, p.cq
	size := max(p.sq.array()+p.sqEntries*4, p.cq.cqes()+p.cqEntries*completionLen)
	var err error
	if r.shared, err = unix.Mmap(r.fd, offSubmissions, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE); err != nil {
		return err
	}
	r.entries, err = unix.Mmap(r.fd, offEntries, int(p.sqEntries*submissionLen), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	if err != nil {
		return err
	}
	r.enter = r.enterKernel
	_, err = r.enter(0) // who allows a ring may still forbid its use
	return err
}

func (r *ring) enterKernel(n uint32) (taken uint32, err error) {
	t, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 0, 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return uint32(t), nil
}

// inUse reports whether the kernel takes reads.
func (r *ring) inUse() bool {
	until := r.paused.Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// close ends the ring. No read may be under way.
func (r *ring) close() error {
	r.handed.Wait()
	r.over.Store(true)
	err := r.file.Close()
	<-r.reaped
	r.unmap()
	return err
}

func (r *ring) unmap() {
	if r.file != nil {
		_ = r.file.Close() // again, or there was never a read
	}
	for _, b := range [...][]byte{r.shared, r.entries} {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
}

// at is the number of the shared memory at off.
func (r *ring) at(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.shared[off])) }

// read reads the block at off of the file open as fd, and reports whether it
// did.
func (r *ring) read(fd int, buf *blockBuffer, off int64) bool {
	if !r.inUse() {
		return false
	}
	var slot uint32
	select {
	case slot = <-r.free:
	default:
		return false
	}
	r.bufs[slot] = buf // which puts it on the heap: stacks move while the kernel writes
	s := submission{op: opRead, fd: int32(fd), off: uint64(off), addr: uint64(uintptr(unsafe.Pointer(buf))), len: format.BlockLen, user: r.ticket(slot)}
	r.submit(&s)
	n := <-r.slots[slot]
	r.bufs[slot] = nil
	r.free <- slot
	return n == format.BlockLen
}

// A ticket is a slot and when its read began, in µs since the ring was made.
func (r *ring) ticket(slot uint32) uint64 {
	return uint64(time.Since(r.made).Microseconds())*ringLen + uint64(slot)
}

func (r *ring) ofTicket(user uint64) (slot uint64, took time.Duration) {
	return user % ringLen, time.Since(r.made) - time.Duration(user/ringLen)*time.Microsecond
}

// submit gives s to the kernel. Whoever comes while another one does that
// leaves it to that one, since only one at a time can.
func (r *ring) submit(s *submission) {
	r.mu.Lock()
	i := r.tail & *r.at(r.sq.mask)
	*(*submission)(unsafe.Pointer(&r.entries[i*submissionLen])) = *s
	*r.at(r.sq.array() + i*4) = i
	r.tail++
	r.added++
	atomic.StoreUint32(r.at(r.sq.tail), r.tail)
	if r.submitting {
		r.mu.Unlock()
		return
	}
	r.submitting = true
	r.tellLocked()
	r.mu.Unlock()
}

// tellLocked tells the kernel of what was added, also meanwhile. If more and
// more is, somebody else goes on with it, since the caller has a read to wait
// for.
func (r *ring) tellLocked() {
	for range maxTurns {
		if r.added == 0 {
			r.submitting = false
			return
		}
		n := r.added
		r.mu.Unlock()
		taken, err := r.enter(n)
		r.mu.Lock()
		if err != nil || taken == 0 {
			r.refusedLocked()
			continue
		}
		r.added -= taken // the rest in the next turn
		if r.refusals != 0 {
			r.refusals = 0
			r.paused.Store(0)
		}
	}
	r.handed.Go(func() {
		r.mu.Lock()
		r.tellLocked()
		r.mu.Unlock()
	})
}

// refusedLocked gives what the kernel did not take back to who asked, and lets
// it be for a while if that happens again and again.
func (r *ring) refusedLocked() {
	if r.refusals++; r.refusals >= maxRefusals {
		r.paused.Store(time.Now().Add(r.pause).UnixNano())
	}
	r.withdrawLocked()
}

// withdrawLocked takes back what the kernel has not taken, which it looks at
// while it is told alone, and answers in its place that nothing was read.
func (r *ring) withdrawLocked() {
	for ; r.added > 0; r.added-- {
		r.tail--
		i := r.tail & *r.at(r.sq.mask)
		slot, _ := r.ofTicket((*submission)(unsafe.Pointer(&r.entries[i*submissionLen])).user)
		r.slots[slot] <- 0
	}
	atomic.StoreUint32(r.at(r.sq.tail), r.tail)
}

// reap hands out the answers until the ring is closed.
func (r *ring) reap(conn syscall.RawConn) {
	defer close(r.reaped)
	_ = conn.Read(func(uintptr) bool {
		for r.handOut() {
		}
		return r.over.Load()
	})
}

// handOut hands out the answers that are there, and reports whether there were
// any.
//
// A disk that is held to a rate, as those of clouds are, lets reads through in
// bursts, and the answers to a burst would keep all processors from whom it
// does not concern. So answers that come at once after a long time are handed
// out one by one, as slowly as does not matter to who has waited for them. See
// the contest hot-p99 of the benchmarks.
func (r *ring) handOut() bool {
	head, mask := *r.at(r.cq.head), *r.at(r.cq.mask)
	n := atomic.LoadUint32(r.at(r.cq.tail)) - head
	start, gap := time.Now(), time.Duration(0)
	for i := range n {
		c := *(*completion)(unsafe.Pointer(&r.shared[r.cq.cqes()+(head+i)&mask*completionLen]))
		atomic.StoreUint32(r.at(r.cq.head), head+i+1)
		slot, took := r.ofTicket(c.user)
		if i == 0 {
			gap = spread(took) / time.Duration(n)
		}
		if i > 0 && gap > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * gap)))
		}
		r.slots[slot] <- c.res
	}
	return n > 0
}

// maxSpread is for who came late, and waits behind others for little.
const maxSpread = 20 * time.Millisecond

// spread is over what time answers are handed out if the first read took so
// long: an eighth of that, or none if the runtime's timers cannot tell it.
func spread(took time.Duration) time.Duration {
	if took < 8*time.Millisecond {
		return 0
	}
	return min(took/8, maxSpread)
}
