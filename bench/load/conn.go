package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"

	"promostore/format"
	"promostore/internal/synth"
)

// A conn is a connection and its goroutine.
//
// The goroutine stays in one call of RawConn.Read, which calls step whenever
// the socket may have become readable. step reads the answer and writes the
// next request before it waits again, so that no read is tried in vain, as
// net.Conn.Read does after each write. The network poller keeps an edge that
// comes between the write and the wait.
type conn struct {
	*run
	rng  *rand.Rand
	tcp  *net.TCPConn
	raw  syscall.RawConn
	fd   int
	busy atomic.Bool // a request waits for its answer

	// Of the request.
	out    []byte
	since  int64 // when it was due, in ns since the start
	status int   // of the right answer

	in []byte // the part of the answer that has come

	latency *hdrhistogram.Histogram
	last    int64 // time of the last answer, in ns since the start
	failed  int64
	failure string
	err     error
}

func newConn(r *run, i int) *conn {
	return &conn{run: r, rng: rand.New(rand.NewPCG(uint64(i), 1)), in: make([]byte, 0, 4<<10), latency: newHistogram()}
}

// dial opens the connection, or opens it again.
func (c *conn) dial() error {
	c.close()
	t, err := net.Dial("tcp", c.Addr)
	if err != nil {
		return err
	}
	c.tcp = t.(*net.TCPConn)
	if c.raw, err = c.tcp.SyscallConn(); err != nil {
		return err
	}
	if err := c.raw.Control(func(fd uintptr) { c.fd = int(fd) }); err != nil {
		return err
	}
	return c.tcp.SetReadDeadline(time.Now().Add(c.Duration + grace)) // once, not for each request
}

func (c *conn) close() {
	if c.tcp != nil {
		_ = c.tcp.Close()
	}
}

var errClosed = io.ErrUnexpectedEOF

// serve sends requests until the end of the load, on new connections if the
// server closes one.
func (c *conn) serve() {
	for {
		c.in = c.in[:0]
		started := false
		err := c.raw.Read(func(uintptr) bool {
			if !started {
				started = true
				return c.next(c.now())
			}
			return c.step()
		})
		if !c.busy.Load() || c.closed.Load() {
			return // the end, or the pacer closed the connection
		}
		if err == nil {
			err = c.err
		}
		c.fail(fmt.Sprint(err))
		c.busy.Store(false)
		c.last = c.now()
		if c.err = nil; c.last >= int64(c.Duration+grace) {
			return
		}
		if c.err = c.dial(); c.err != nil {
			return
		}
	}
}

// next prepares for the next request, or sends it if there is no pacer. It
// returns true at the end of the load.
func (c *conn) next(now int64) (done bool) {
	if c.idle != nil {
		c.idle <- c
		return false
	}
	if now >= int64(c.Duration) {
		return true
	}
	c.send(now)
	return c.err != nil
}

// send sends a request that was due at the given time.
func (c *conn) send(due int64) {
	c.since = due
	c.out = c.appendRequest(c.out[:0])
	b, fd := c.out, c.fd
	c.busy.Store(true) // from here on, the goroutine may have the answer and change c
	n, errno := rawIO(syscall.SYS_WRITE, fd, b)
	if b = b[n:]; len(b) == 0 {
		return
	}
	if errno != 0 && errno != syscall.EAGAIN || c.idle != nil {
		c.err = fmt.Errorf("write of %d bytes: %w", len(b), errno)
		_ = c.tcp.CloseRead() // wakes the goroutine, if the pacer sends
		return
	}
	// A batch may not fit into the buffer of the socket.
	_, c.err = c.tcp.Write(b)
}

// step reads from the socket. It returns true at the end of the load, or of the
// connection.
func (c *conn) step() (done bool) {
	for {
		if len(c.in) == cap(c.in) {
			c.in = append(c.in, 0)[:len(c.in)]
		}
		n, errno := rawIO(syscall.SYS_READ, c.fd, c.in[len(c.in):cap(c.in)])
		switch {
		case errno == syscall.EAGAIN:
			return false
		case errno == syscall.EINTR:
			continue
		case errno != 0:
			c.err = fmt.Errorf("read: %w", errno)
			return true
		case n == 0:
			c.err = errClosed
			return true
		}
		full := len(c.in)+n == cap(c.in)
		c.in = c.in[:len(c.in)+n]
		if !c.busy.Load() {
			c.err = errMalformed
			return true
		}
		status, end, err := parse(c.in)
		if err != nil || end > 0 && len(c.in) > end {
			c.err = errors.Join(errMalformed, err)
			return true
		}
		if end == len(c.in) && end > 0 {
			now := c.now()
			c.check(status, now)
			c.in = c.in[:0]
			c.busy.Store(false)
			return c.next(now)
		}
		if !full {
			return false
		}
	}
}

// check records a complete answer.
func (c *conn) check(status int, now int64) {
	c.last = now
	switch {
	case status != c.status:
		c.fail("status " + strconv.Itoa(status) + " instead of " + strconv.Itoa(c.status))
	case !c.Batch && !c.Constant && status == statusFound && !bytes.Contains(c.in, c.out[len(front):len(front)+format.TextLen]):
		c.fail("an answer for another ID")
	default:
		_ = c.latency.RecordValue(min(max(now-c.since, 1), int64(time.Minute)))
	}
}

func (c *conn) fail(reason string) {
	c.failed++
	if c.failure == "" {
		c.failure = reason
	}
}

const (
	statusFound   = 200
	statusMissing = 404

	front = "GET /promotions/"
)

// appendRequest appends a request to dst, and sets the status of the right answer.
func (c *conn) appendRequest(dst []byte) []byte {
	c.status = statusFound
	if c.Batch {
		return append(dst, c.batch[c.rng.IntN(len(c.batch))]...)
	}
	i := c.rng.Uint64N(uint64(c.Rows))
	if c.Misses > 0 && c.rng.Float64() < c.Misses {
		i += uint64(c.Rows)
		if !c.Constant {
			c.status = statusMissing
		}
	}
	dst = append(dst, front...)
	dst = synth.Keys{Kind: synth.KeysV4}.At(i).AppendText(dst, false)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, c.Addr...)
	return append(dst, "\r\n\r\n"...)
}

// numBatches is the number of different batches: half a million IDs. To make a
// thousand IDs for each request would take processor time from the server.
const numBatches = 512

func newBatches(o Options) [][]byte {
	rng := rand.New(rand.NewPCG(0, 1))
	list := make([][]byte, numBatches)
	for i := range list {
		body := []byte(`{"ids":[`)
		for j := range BatchLen {
			if j > 0 {
				body = append(body, ',')
			}
			row := rng.Uint64N(uint64(o.Rows))
			if rng.Float64() < o.Misses {
				row += uint64(o.Rows)
			}
			body = append(synth.Keys{Kind: synth.KeysV4}.At(row).AppendText(append(body, '"'), false), '"')
		}
		body = append(body, "]}"...)
		list[i] = append([]byte("POST /promotions/lookup HTTP/1.1\r\nHost: "+o.Addr+
			"\r\nContent-Type: application/json\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
	}
	return list
}

var (
	errMalformed = errors.New("malformed answer")

	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
)

// parse reads the head of an answer. end is the length of the whole answer, or
// 0 if the head is not complete.
func parse(b []byte) (status, end int, err error) {
	head := bytes.Index(b, headEnd)
	if head < 0 {
		return 0, 0, nil
	}
	at := bytes.Index(b[:head+2], contentLength)
	if at < 0 || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) || at < len("HTTP/1.1 200") {
		return 0, 0, fmt.Errorf("%.60q", b)
	}
	bodyLen := 0
	for _, d := range b[at+len(contentLength):] {
		if d == '\r' {
			break
		}
		if d < '0' || d > '9' || bodyLen > 1<<30 {
			return 0, 0, fmt.Errorf("%.200q", b)
		}
		bodyLen = bodyLen*10 + int(d-'0')
	}
	for _, d := range b[len("HTTP/1.1 "):len("HTTP/1.1 200")] {
		status = status*10 + int(d-'0')
	}
	return status, head + len(headEnd) + bodyLen, nil
}

// rawIO reads or writes on a socket that does not block. It does not tell the
// scheduler of Go, which saves the client a seventh of its time.
func rawIO(call uintptr, fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// sleep sleeps for ns nanoseconds, or until a signal.
func sleep(ns int64) {
	t := syscall.NsecToTimespec(ns)
	_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
}
