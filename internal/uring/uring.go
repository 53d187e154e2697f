// Package uring reads files through io_uring, so that goroutines wait for a
// disk as they wait for a network: without a thread or a processor.
//
// A Ring has a submission queue, in which a read is an entry, and a completion
// queue, both in memory shared with the kernel:
//
//   - Setup: io_uring_setup(2) creates the queues, mmap maps them, and the
//     runtime polls the file descriptor of the ring.
//   - Submission: Read writes an entry and tells the kernel by
//     io_uring_enter(2). One goroutine at a time calls it, and submits the
//     entries of the others too.
//   - Completion: the descriptor becomes readable. One goroutine takes the
//     results from the queue and hands each to the Read that waits for it.
//
// Memory order follows liburing: the tail of the submission queue and the head
// of the completion queue are stored with release, the tail of the completion
// queue is loaded with acquire semantics. Operations of sync/atomic are at least
// that strong. The heads and tails that only this side writes need no atomic
// load, and the kernel reads the submission queue only during io_uring_enter,
// since no kernel thread polls it (io_uring_setup(2), IORING_SETUP_SQPOLL).
//
// A ring is an optimization that may refuse any read. The caller must be able to
// read in another way.
package uring

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Len is the number of reads that a Ring has under way at most; others wait. A
// disk that is served by one queue has no use for more.
const Len = 256

const (
	// After maxRejections in a row, the ring is not used for pauseTime. The
	// usual reason for a single rejection is a brief shortage of memory.
	maxRejections = 8
	pauseTime     = time.Second

	// maxEnters is the number of system calls that a Read makes, also for other
	// reads, before it waits for its own result.
	maxEnters = 16
)

// From linux/io_uring.h; package unix lacks them.
const (
	opRead         = 22         // IORING_OP_READ, since Linux 5.6
	offQueues      = 0          // IORING_OFF_SQ_RING
	offEntries     = 0x10000000 // IORING_OFF_SQES
	featSingleMmap = 1 << 0     // IORING_FEAT_SINGLE_MMAP, since Linux 5.4
	featCurPos     = 1 << 3     // IORING_FEAT_RW_CUR_POS, since Linux 5.6
	submissionLen  = 64         // bytes of struct io_uring_sqe
	completionLen  = 16         // bytes of struct io_uring_cqe
)

// params is struct io_uring_params.
type params struct {
	sqEntries, cqEntries, flags, threadCPU, threadIdle, features, wqFD uint32
	_                                                                  [3]uint32
	sq, cq                                                             queueOffsets
}

// queueOffsets is struct io_sqring_offsets or io_cqring_offsets: the offsets of
// the fields of a queue in the shared memory. The two differ after the fourth.
type queueOffsets struct {
	head, tail, mask, entries uint32
	a, b, c, d                uint32
	_                         uint64
}

func (o *queueOffsets) array() uint32 { return o.c } // of the submission queue
func (o *queueOffsets) cqes() uint32  { return o.b } // of the completion queue

// A submission has the fields of struct io_uring_sqe that a read needs.
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

// A completion is struct io_uring_cqe.
type completion struct {
	user  uint64 // from the submission
	res   int32  // bytes read, or a negative errno
	flags uint32
}

var (
	_ [submissionLen]byte = [unsafe.Sizeof(submission{})]byte{}
	_ [completionLen]byte = [unsafe.Sizeof(completion{})]byte{}
	_ [120]byte           = [unsafe.Sizeof(params{})]byte{}
)

// A Ring reads files through io_uring. All methods but Close are safe for
// concurrent use.
type Ring struct {
	start   time.Time
	file    *os.File // the ring itself, polled by the runtime
	fd      int      // of file
	enter   func(n uint32) (taken uint32, err error)
	queues  []byte // shared with the kernel: both queues
	entries []byte // shared with the kernel: the submissions
	sq, cq  queueOffsets

	mu         sync.Mutex // guards the submission side:
	tail       uint32     // of the submission queue
	added      uint32     // submissions before tail that the kernel has not taken
	submitting bool       // a goroutine is in submitLocked
	rejections int        // in a row
	pause      time.Duration

	free    chan uint32     // slots
	results [Len]chan int32 // of the read in each slot
	bufs    [Len]*byte      // into which the kernel writes; see Read
	closing atomic.Bool
	done    chan struct{} // closed when no goroutine delivers results any more

	submitters  sync.WaitGroup // goroutines that submit in place of a Read
	pausedUntil atomic.Int64   // Unix time in ns; 0: not paused
}

// New returns a ring. It fails where the kernel lacks io_uring or forbids it,
// as the seccomp profiles of containers often do. A profile that kills the
// process does so here, and not at some later read.
func New() (*Ring, error) {
	r := &Ring{start: time.Now(), pause: pauseTime, free: make(chan uint32, Len), done: make(chan struct{})}
	if err := r.setup(); err != nil {
		r.unmap()
		return nil, err
	}
	for i := range r.results {
		r.results[i] = make(chan int32, 1)
		r.free <- uint32(i)
	}
	conn, err := r.file.SyscallConn()
	if err == nil {
		err = r.file.SetReadDeadline(time.Time{}) // fails if the runtime cannot poll the file
	}
	if err != nil {
		r.unmap()
		return nil, err
	}
	go r.deliver(conn)
	return r, nil
}

func (r *Ring) setup() error {
	var p params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, Len, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return os.NewSyscallError("io_uring_setup", errno)
	}
	r.fd = int(fd)
	if err := unix.SetNonblock(r.fd, true); err != nil { // the runtime polls no other files
		return errors.Join(err, unix.Close(r.fd))
	}
	r.file = os.NewFile(fd, "io_uring")
	const need = featSingleMmap | featCurPos // of the same release as opRead
	if p.features&need != need {
		return errors.ErrUnsupported
	}
	r.sq, r.cq = p.sq, p.cq
	size := max(p.sq.array()+p.sqEntries*4, p.cq.cqes()+p.cqEntries*completionLen)
	var err error
	if r.queues, err = r.mmap(offQueues, int(size)); err != nil {
		return err
	}
	if r.entries, err = r.mmap(offEntries, int(p.sqEntries*submissionLen)); err != nil {
		return err
	}
	r.enter = r.enterKernel
	_, err = r.enter(0) // a profile can allow io_uring_setup and forbid io_uring_enter
	return err
}

func (r *Ring) mmap(off int64, size int) ([]byte, error) {
	b, err := unix.Mmap(r.fd, off, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_POPULATE)
	return b, os.NewSyscallError("mmap", err)
}

// enterKernel tells the kernel of n submissions, and returns how many it took.
func (r *Ring) enterKernel(n uint32) (taken uint32, err error) {
	t, _, errno := unix.Syscall6(unix.SYS_IO_URING_ENTER, uintptr(r.fd), uintptr(n), 0, 0, 0, 0)
	if errno != 0 {
		return 0, os.NewSyscallError("io_uring_enter", errno)
	}
	return uint32(t), nil
}

// Usable reports whether Read uses the ring. It does not while the kernel
// rejects reads.
func (r *Ring) Usable() bool {
	until := r.pausedUntil.Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// Completed returns the number of reads that the kernel has completed, modulo
// 2^32.
func (r *Ring) Completed() uint32 { return atomic.LoadUint32(r.queue(r.cq.tail)) }

// Close ends the ring. No Read may be under way.
func (r *Ring) Close() error {
	r.submitters.Wait()
	r.closing.Store(true)
	err := r.file.Close()
	<-r.done
	r.unmap()
	return err
}

func (r *Ring) unmap() {
	if r.file != nil {
		_ = r.file.Close() // already closed, or there was no read yet
	}
	for _, b := range [...][]byte{r.queues, r.entries} {
		if b != nil {
			_ = unix.Munmap(b)
		}
	}
}

// queue returns the number at off in the queues.
func (r *Ring) queue(off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&r.queues[off])) }

// entry returns submission i, modulo the length of the queue.
func (r *Ring) entry(i uint32) *submission {
	return (*submission)(unsafe.Pointer(&r.entries[(i&*r.queue(r.sq.mask))*submissionLen]))
}

// Read fills buf with the bytes at off of the file open as fd. It returns false
// if the ring is paused, the kernel rejects the read, the read fails, or the file
// ends early. If Len reads are under way, it waits for one to end.
func (r *Ring) Read(fd int, buf []byte, off int64) bool {
	if !r.Usable() {
		return false
	}
	slot := <-r.free
	p := unsafe.SliceData(buf)
	r.bufs[slot] = p // forces buf to the heap: a stack may move while the kernel writes
	r.submit(&submission{
		op: opRead, fd: int32(fd), off: uint64(off),
		addr: uint64(uintptr(unsafe.Pointer(p))), len: uint32(len(buf)), user: r.ticket(slot),
	})
	n := <-r.results[slot]
	r.bufs[slot] = nil
	r.free <- slot
	return int(n) == len(buf)
}

// ticket returns a number that identifies slot and the present time, in µs since
// the ring was made.
func (r *Ring) ticket(slot uint32) uint64 {
	return uint64(time.Since(r.start).Microseconds())*Len + uint64(slot)
}

// parseTicket returns the slot of a ticket and its age.
func (r *Ring) parseTicket(ticket uint64) (slot uint32, age time.Duration) {
	return uint32(ticket % Len), time.Since(r.start) - time.Duration(ticket/Len)*time.Microsecond
}

// submit adds s to the submission queue and tells the kernel, unless another
// goroutine is about to.
func (r *Ring) submit(s *submission) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*r.entry(r.tail) = *s
	i := r.tail & *r.queue(r.sq.mask)
	*r.queue(r.sq.array() + i*4) = i
	r.tail++
	r.added++
	atomic.StoreUint32(r.queue(r.sq.tail), r.tail)
	if !r.submitting {
		r.submitting = true
		r.submitLocked()
	}
}

// submitLocked tells the kernel of added submissions, including those that are
// added meanwhile. If they do not end, another goroutine continues, because the
// caller has a result to wait for. It unlocks mu during system calls.
func (r *Ring) submitLocked() {
	for range maxEnters {
		if r.added == 0 {
			r.submitting = false
			return
		}
		n := r.added
		r.mu.Unlock()
		taken, err := r.enter(n)
		r.mu.Lock()
		if err != nil || taken == 0 {
			r.rejectedLocked()
			continue
		}
		r.added -= taken // the next iteration submits the rest
		if r.rejections != 0 {
			r.rejections = 0
			r.pausedUntil.Store(0)
		}
	}
	r.submitters.Go(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.submitLocked()
	})
}

// rejectedLocked fails the reads that the kernel did not take, and pauses the
// ring if that happens repeatedly. Removing submissions is safe because the
// kernel reads the queue only during io_uring_enter.
func (r *Ring) rejectedLocked() {
	if r.rejections++; r.rejections >= maxRejections {
		r.pausedUntil.Store(time.Now().Add(r.pause).UnixNano())
	}
	for ; r.added > 0; r.added-- {
		r.tail--
		slot, _ := r.parseTicket(r.entry(r.tail).user)
		r.results[slot] <- 0 // bytes read
	}
	atomic.StoreUint32(r.queue(r.sq.tail), r.tail)
}

// deliver hands out results until the ring is closed.
func (r *Ring) deliver(conn syscall.RawConn) {
	defer close(r.done)
	_ = conn.Read(func(uintptr) bool {
		for r.deliverCompleted() {
		}
		return r.closing.Load() // false: wait until the descriptor is readable
	})
}

// deliverCompleted hands out the results in the completion queue, and reports
// whether there were any.
//
// A disk with a rate limit, as in clouds, completes reads in bursts. The
// goroutines that a burst wakes would keep every processor from other requests.
// So results that arrive together after a long time are handed out one by one,
// slowly enough for the others and too fast for the waiting goroutines to
// matter.
func (r *Ring) deliverCompleted() bool {
	head, mask := *r.queue(r.cq.head), *r.queue(r.cq.mask)
	n := atomic.LoadUint32(r.queue(r.cq.tail)) - head
	start, gap := time.Now(), time.Duration(0)
	for i := range n {
		c := *(*completion)(unsafe.Pointer(&r.queues[r.cq.cqes()+(head+i)&mask*completionLen]))
		atomic.StoreUint32(r.queue(r.cq.head), head+i+1)
		slot, age := r.parseTicket(c.user)
		if i == 0 {
			gap = spread(age) / time.Duration(n)
		}
		if i > 0 && gap > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(i) * gap)))
		}
		r.results[slot] <- c.res
	}
	return n > 0
}

// maxSpread limits the delay of a read that began late but completes with
// earlier ones.
const maxSpread = 20 * time.Millisecond

// spread returns the time over which results are handed out if the first read
// took that long: an eighth of it, or none if timers are too coarse for that.
func spread(took time.Duration) time.Duration {
	if took < 8*time.Millisecond {
		return 0
	}
	return min(took/8, maxSpread)
}
