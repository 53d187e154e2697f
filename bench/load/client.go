package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// A client is one thread with some of the connections. Of its time 94 % is
// spent in the kernel, three quarters of that in write.
type client struct {
	opts     *Options
	requests *requests
	parse    func([]byte) (status, n int, err error)
	addr     syscall.SockaddrInet4
	epoll    int
	conns    []conn
	idle     queue // indices of the connections without a request
	buf      [64 << 10]byte

	// When the requests are due, in ns since start.
	start    time.Time
	due      float64
	interval float64 // between two of them; 0: whenever a connection is idle
	end      float64 // none is due from then on

	last    int64 // when the last answer came, in ns since start
	times   histogram
	failed  int64
	failure string // the first
	err     error
}

// A conn is a connection. It has a request in flight unless it is idle.
type conn struct {
	fd      int
	buf     []byte // for requests, which are made anew each
	unsent  []byte // in buf
	partial []byte // an answer whose length is not known yet
	rest    int    // of an answer whose length is known, in bytes
	since   int64  // when the request was due, in ns since start; negative if there is none
	want    int    // status
	status  int
}

func newClient(opts *Options, thread, connections int) (*client, error) {
	addr, err := net.ResolveTCPAddr("tcp4", opts.Addr)
	if err != nil {
		return nil, err
	}
	c := &client{opts: opts, requests: newRequests(opts, thread), parse: parseHTTP, end: float64(opts.Duration)}
	if opts.Kind == Redis {
		c.parse = parseRedis
	}
	if opts.Rate > 0 {
		c.interval = float64(opts.Threads) / opts.Rate * 1e9
		c.due = c.interval * float64(thread) / float64(opts.Threads)
	}
	c.addr.Port = addr.Port
	copy(c.addr.Addr[:], addr.IP.To4())
	if c.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	c.conns, c.idle.ring = make([]conn, connections), make([]int32, connections)
	for i := range c.conns {
		c.conns[i].fd = -1
	}
	for i := range c.conns {
		if err := c.dial(i); err != nil {
			c.close()
			return nil, err
		}
		c.idle.push(i)
	}
	return c, nil
}

func (c *client) close() {
	for i := range c.conns {
		if c.conns[i].fd >= 0 {
			syscall.Close(c.conns[i].fd)
		}
	}
	syscall.Close(c.epoll)
}

// epollEdge is syscall.EPOLLET as the unsigned number that it is.
const epollEdge = 1 << 31

// dial opens connection i, anew if need be.
func (c *client) dial(i int) error {
	k := &c.conns[i]
	if k.fd >= 0 {
		syscall.Close(k.fd)
	}
	*k = conn{fd: -1, since: -1, buf: k.buf[:0], partial: k.partial[:0]}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	k.fd = fd
	if err := syscall.Connect(fd, &c.addr); err != nil {
		return fmt.Errorf("connect to %s: %w", c.opts.Addr, err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	// Registered once, and told of changes alone: what was read short or written
	// short is told again when it can go on.
	event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLOUT | syscall.EPOLLRDHUP | epollEdge, Fd: int32(i)}
	return syscall.EpollCtl(c.epoll, syscall.EPOLL_CTL_ADD, fd, &event)
}

// run sends requests until their time is over, and waits for the answers.
func (c *client) run(ctx context.Context, start time.Time) {
	runtime.LockOSThread() // never undone: the thread's timer slack goes with it
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0)
	var stopped atomic.Bool
	defer context.AfterFunc(ctx, func() { stopped.Store(true) })()
	c.start = start
	events := make([]syscall.EpollEvent, len(c.conns))
	giveUp := c.opts.Duration + grace
	for c.err == nil && !stopped.Load() {
		now := c.now()
		c.dispatch(now)
		if c.due >= c.end && c.idle.n == len(c.conns) {
			return
		}
		if now > int64(giveUp) {
			c.fail(len(c.conns)-c.idle.n, fmt.Sprintf("no answer for %v", grace))
			return
		}
		n, err := c.wait(events, now)
		if err != nil {
			c.err = err
			return
		}
		for _, e := range events[:n] {
			c.serve(int(e.Fd))
		}
	}
}

func (c *client) now() int64 { return int64(time.Since(c.start)) }

// dispatch sends the requests that are due, as far as connections are idle.
func (c *client) dispatch(now int64) {
	if c.interval == 0 {
		c.due = float64(now)
	}
	for n := c.idle.n; n > 0 && c.due <= float64(now) && c.due < c.end; n-- {
		i := c.idle.pop()
		k := &c.conns[i]
		k.since = int64(c.due)
		c.due += c.interval
		k.buf, k.want = c.requests.next(k.buf[:0])
		k.unsent = k.buf
		c.send(i)
	}
}

// send writes what it can of the request of connection i.
func (c *client) send(i int) {
	k := &c.conns[i]
	for len(k.unsent) > 0 {
		n, err := rawIO(syscall.SYS_WRITE, k.fd, k.unsent)
		switch {
		case err == nil:
			k.unsent = k.unsent[n:]
		case errors.Is(err, syscall.EAGAIN):
			return
		case !errors.Is(err, syscall.EINTR):
			c.lost(i, err)
			return
		}
	}
}

// serve does what an event allows on connection i.
func (c *client) serve(i int) {
	k := &c.conns[i]
	if len(k.unsent) > 0 {
		c.send(i)
	}
	for {
		n, err := rawIO(syscall.SYS_READ, k.fd, c.buf[:])
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			c.lost(i, err)
			return
		case n == 0:
			c.lost(i, io.ErrUnexpectedEOF)
			return
		}
		answered, err := c.received(k, c.buf[:n])
		if err != nil {
			c.lost(i, err)
			return
		}
		if answered {
			c.answered(i)
			return
		}
		if n < len(c.buf) {
			return // there will be another event
		}
	}
}

// received takes a piece of the answer on k, and reports whether it was the
// last.
func (c *client) received(k *conn, b []byte) (last bool, err error) {
	if k.since < 0 {
		return false, fmt.Errorf("%w: nothing was asked: %.40q", errMalformed, b)
	}
	if k.rest == 0 {
		if len(k.partial) > 0 {
			k.partial = append(k.partial, b...)
			b = k.partial
		}
		n := 0
		if k.status, n, err = c.parse(b); err != nil {
			return false, err
		}
		if n == 0 {
			k.partial = append(k.partial[:0], b...)
			return false, nil
		}
		k.partial, k.rest = k.partial[:0], n
	}
	if k.rest -= len(b); k.rest < 0 {
		return false, fmt.Errorf("%w: %d bytes more than it says", errMalformed, -k.rest)
	}
	return k.rest == 0, nil
}

// answered ends the request of connection i.
func (c *client) answered(i int) {
	k := &c.conns[i]
	now := c.now()
	c.last = now
	if k.status == k.want {
		c.times.record(now - k.since)
	} else {
		c.fail(1, wrongStatus(k.status, k.want))
	}
	k.since = -1
	c.idle.push(i)
}

// lost replaces connection i, which is of no use any more. That an idle one
// was closed is no failure.
func (c *client) lost(i int, cause error) {
	busy := c.conns[i].since >= 0
	if busy {
		c.fail(1, cause.Error())
		c.last = c.now()
	}
	if err := c.dial(i); err != nil {
		c.err = err
		return
	}
	if busy {
		c.idle.push(i)
	}
}

func (c *client) fail(n int, reason string) {
	c.failed += int64(n)
	if c.failure == "" {
		c.failure = reason
	}
}

// sysEpollPwait2 has the same number everywhere. It came with Linux 5.11.
const sysEpollPwait2 = 441

// patience is how long a client sleeps at most, so that it sees its context.
const patience = 100 * time.Millisecond

// wait sleeps until there are events or the next request is due.
func (c *client) wait(events []syscall.EpollEvent, now int64) (int, error) {
	sleep := float64(patience)
	if c.idle.n > 0 && c.due < c.end {
		sleep = math.Max(0, math.Min(sleep, c.due-float64(now)))
	}
	timeout := syscall.NsecToTimespec(int64(sleep))
	n, _, errno := syscall.RawSyscall6(sysEpollPwait2, uintptr(c.epoll),
		uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&timeout)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case syscall.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("epoll_pwait2: %w", errno)
}

// A queue is first in, first out, so that every connection is used.
type queue struct {
	ring    []int32
	head, n int
}

func (q *queue) push(i int) {
	q.ring[(q.head+q.n)%len(q.ring)] = int32(i)
	q.n++
}

func (q *queue) pop() int {
	i := q.ring[q.head]
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return int(i)
}

// rawIO reads or writes b on a socket that does not block. It does not tell the
// scheduler, and neither does wait: with its book-keeping, and a monitor that
// wakes up for every call that sleeps, a request costs the client a seventh
// more.
func rawIO(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
