package serving

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"promostore/bench/contest"
	"promostore/bench/load"
	"promostore/format"
	"promostore/httpd"
	"promostore/internal/synth"
	"promostore/reader"
)

// runProcessors measures GET with two processors against one, with the server
// in this process and without the network, whose own locks would be all that
// is seen.
func runProcessors(ctx context.Context, env *contest.Env, _ load.Program, report func(contest.Result)) (err error) {
	c := contest.Contest{
		Area: area, Name: "processors", Unit: "requests", Rows: env.Rows, Rounds: 9,
		What: fmt.Sprintf("GET without the network, %s records, two processors against one", contest.Count(env.Rows)),
		Note: "2 is what there is to win, but for noise; what the processors share of caches and memory counts against it, " +
			"but no counter does: those of a connection are in cache lines that others do not write",
	}
	if runtime.NumCPU() < 2 {
		report(contest.Missing(area, c.Name, c.What, "one processor", "there is only one"))
		return nil
	}
	env.Logf("http: two processors against one")
	dir, err := env.Generation(ctx, synth.KeysV4.String(), env.Rows)
	if err != nil {
		return err
	}
	store := reader.NewStore(dir, reader.StoreOptions{Access: reader.AccessMmap})
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Poll(ctx); err != nil {
		return err
	}
	s := httpd.New(httpd.Options{Store: store, Logger: slog.New(slog.DiscardHandler)})
	ln := newMemoryListener()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	c.Ours = processors("two processors", ln, 2, env.Rows)
	c.Peer = processors("one processor", ln, 1, env.Rows)
	result, err := c.Run(ctx)
	if err = errors.Join(err, s.Shutdown(ctx), <-served); err != nil {
		return err
	}
	report(result)
	return nil
}

// processors is the server at ln with n processors. There are two connections
// in any case.
func processors(name string, ln *memoryListener, n int, rows int64) contest.Contestant {
	const conns = 2
	setup := fmt.Sprintf("GOMAXPROCS %d, %d connections, each of which has its next request ready when the last is answered", n, conns)
	return contest.Contestant{Name: name, Setup: setup, Run: func(ctx context.Context) (s contest.Sample, err error) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
		var list [conns]*memoryConn
		start := time.Now()
		for i := range list {
			list[i] = newMemoryConn(ctx, start.Add(turnLen), rows, uint64(i))
			ln.conns <- list[i]
		}
		for _, c := range list {
			<-c.closed
			s.N += float64(c.answered)
			err = errors.Join(err, c.err)
		}
		s.Took = time.Since(start)
		return s, errors.Join(err, ctx.Err())
	}}
}

// A memoryListener has the connections that it is given.
type memoryListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*memoryListener) Addr() net.Addr { return &net.TCPAddr{} }

// A memoryConn is both ends of a connection: each Read is a request for a random
// id, or one in 100 that is not there, and each Write must be its answer.
type memoryConn struct {
	ctx      context.Context
	until    time.Time
	rows     uint64
	state    uint64 // of the random numbers
	request  []byte
	rest     []byte // of request, not yet read
	status   []byte // how its answer begins
	answered int64
	err      error         // valid when closed is
	closed   chan struct{} // by the server
}

const requestFront = "GET /promotions/"

var (
	statusOK       = []byte("HTTP/1.1 200 ")
	statusNotFound = []byte("HTTP/1.1 404 ")
)

func newMemoryConn(ctx context.Context, until time.Time, rows int64, seed uint64) *memoryConn {
	request := make([]byte, len(requestFront)+format.TextLen, 128)
	copy(request, requestFront)
	request = append(request, " HTTP/1.1\r\nHost: localhost\r\n\r\n"...)
	return &memoryConn{ctx: ctx, until: until, rows: uint64(rows), state: seed << 32, request: request, closed: make(chan struct{})}
}

func (c *memoryConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		const between = 256 // requests between two looks at the clock
		if c.answered%between == 0 && (c.ctx.Err() != nil || time.Now().After(c.until)) {
			return 0, io.EOF
		}
		c.next()
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// next makes a request. Its numbers need not be good, only spread over the
// table: a step of the golden ratio.
func (c *memoryConn) next() {
	c.state += 0x9E3779B97F4A7C15
	i := c.state >> 11 % c.rows
	c.status = statusOK
	if c.answered%100 == 99 {
		i, c.status = i+c.rows, statusNotFound
	}
	synth.Keys{Kind: synth.KeysV4}.At(i).AppendText(c.request[:len(requestFront)], false)
	c.rest = c.request
}

// Write takes an answer, which the server writes at once.
func (c *memoryConn) Write(b []byte) (int, error) {
	if !bytes.HasPrefix(b, c.status) {
		c.err = fmt.Errorf("answer %.40q, not %s", b, c.status)
		return 0, c.err
	}
	c.answered++
	return len(b), nil
}

func (c *memoryConn) Close() error {
	close(c.closed)
	return nil
}

func (*memoryConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*memoryConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*memoryConn) SetDeadline(time.Time) error      { return nil }
func (*memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (*memoryConn) SetWriteDeadline(time.Time) error { return nil }
