package httpd_test

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/httpd"
	"promostore/reader"
)

// A heldConn is a connection whose client sends text, step bytes at a time, and
// then nothing. If unread is set, it does not read answers either. It needs no
// descriptor.
type heldConn struct {
	script
	step   int
	unread bool
	idle   func()        // called once, when the server waits for the client
	closed chan struct{} // ends the wait
}

func (c *heldConn) Read(p []byte) (int, error) {
	if c.sent.Len() > 0 {
		return c.sent.Read(p[:min(len(p), c.step)])
	}
	return 0, c.wait()
}

func (c *heldConn) Write(p []byte) (int, error) {
	if c.unread {
		return 0, c.wait()
	}
	return len(p), nil
}

// Close ends a connection whose rest the server does not read.
func (c *heldConn) Close() error {
	c.idle()
	return nil
}

func (c *heldConn) wait() error {
	c.idle()
	<-c.closed
	return net.ErrClosed
}

// held returns the memory that n such connections take while the server waits
// for all of their clients.
func (f *fixture) held(text string, step, n int, unread bool) int {
	before := memoryInUse()
	closed := make(chan struct{})
	sent := []byte(text)
	var idle, served sync.WaitGroup
	idle.Add(n)
	for range n {
		served.Go(func() {
			c := &heldConn{script{sent: bytes.NewReader(sent)}, step, unread, sync.OnceFunc(idle.Done), closed}
			_ = f.ServeConn(c)
		})
	}
	idle.Wait()
	used := memoryInUse() - before
	close(closed)
	served.Wait()
	return used
}

// memoryInUse returns the memory of objects that are in use, and of stacks.
func memoryInUse() int {
	runtime.GC() // two empty the pools
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc + m.StackInuse)
}

// TestAnnouncedBodyCostsNoMemory announces the longest body on many
// connections, and sends nothing or byte after byte.
func TestAnnouncedBodyCostsNoMemory(t *testing.T) {
	const connections, most = 500, 16 << 10
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	get := strings.Replace(postLookup, "POST", "GET", 1)
	length := "Content-Length: 1048576\r\n\r\n"
	slow := strings.Repeat(" ", 600) // ten minutes of a byte a second
	buffers := f.held(postLookup, 100, connections, false)
	for name, c := range map[string]struct {
		text string
		step int
	}{
		"GET, nothing":         {get + length, 1000},
		"GET, bytes":           {get + length + slow, 1},
		"lookup, nothing":      {postLookup + length, 1000},
		"lookup, bytes":        {postLookup + length + slow, 1},
		"chunk, nothing":       {postLookup + chunked + "\r\n100000\r\n", 1000},
		"chunk, bytes":         {postLookup + chunked + "\r\n100000\r\n" + slow, 1},
		"expectation, nothing": {postLookup + "Expect: 100-continue\r\n" + length, 1000},
		"other path, nothing":  {strings.Replace(postLookup, "lookup", "other", 1) + length, 1000},
	} {
		each := (f.held(c.text, c.step, connections, false) - buffers) / connections
		t.Logf("%s: %d bytes a connection", name, each)
		if each > most {
			t.Errorf("%s: a connection takes %d bytes beyond its buffers, more than %d", name, each, most)
		}
	}
}

// TestLookupMemoryIsBounded sends bodies, and requests answers, that together
// are far larger than the memory of all lookups. The clients do not send the
// rest and do not read.
func TestLookupMemoryIsBounded(t *testing.T) {
	const connections = 300
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	f.SetLookupWait(time.Millisecond)
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	batch := batchOf(httpd.MaxLookupIDs)
	buffers := f.held(postLookup, 100, connections, false)
	for name, c := range map[string]struct {
		text   string
		unread bool
	}{
		"answers that are not read": {batch, true},
		"bodies without their end":  {postLookup + "Content-Length: 1048576\r\n\r\n" + strings.Repeat(" ", 1<<20-1), false},
	} {
		used := f.held(c.text, 1<<20, connections, c.unread) - buffers
		t.Logf("%s: %d MiB", name, used>>20)
		if most := httpd.LookupMemory + 8<<20; used > most {
			t.Errorf("%s: %d MiB are in use, more than %d", name, used>>20, most>>20)
		}
	}
	if got := f.answeredHere(t, "promoserve_lookup_requests_refused_total"); got == "0" {
		t.Error("no refused lookup is counted")
	}
	// The memory is free again.
	a := f.exchange(t, batch)
	if !strings.HasPrefix(a, "HTTP/1.1 200 ") {
		t.Errorf("the lookup after them: %.100q", a)
	}
}

// TestPageMemoryIsBounded requests pages and lists that together are far larger than the
// memory of all answers. The clients do not read.
func TestPageMemoryIsBounded(t *testing.T) {
	const connections, most = 600, 8 << 20 // of at least 40 KiB
	f := newFixture(t, httpd.Options{Page: true, Memory: 64 << 20}, reader.StoreOptions{})
	f.SetLookupWait(time.Millisecond)
	for i := range 100 {
		publish(t, f.dir, genID(i), rows)
	}
	f.poll(t)
	for _, path := range []string{"/", "/?id=" + exampleID} {
		if a := f.exchange(t, request(path)); !strings.HasPrefix(a, "HTTP/1.1 200 ") || len(a) < 40<<10 {
			t.Fatalf("%d bytes: %.300q", len(a), a)
		}
		buffers := f.held(request("/healthz"), 1<<20, connections, true)
		used := f.held(request(path), 1<<20, connections, true) - buffers
		t.Logf("%s: %d KiB", path, used>>10)
		if limit := httpd.MinLookupMemory + most; used > limit {
			t.Errorf("%s: %d MiB are in use, more than %d", path, used>>20, limit>>20)
		}
	}
	if a := f.exchange(t, request("/")); !strings.HasPrefix(a, "HTTP/1.1 200 ") { // the memory is free again
		t.Errorf("the page after them: %.100q", a)
	}
}

// TestFinishedLookupsKeepLittleMemory ends many lookups at once. The buffers left
// for later ones are bounded, too.
func TestFinishedLookupsKeepLittleMemory(t *testing.T) {
	const connections, most = 200, 16 << 20
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	before := memoryInUse()
	f.held(batchOf(1000), 1<<20, connections, true)
	runtime.GC() // one does not empty a sync.Pool
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if used := int(m.HeapAlloc+m.StackInuse) - before; used > most {
		t.Errorf("%d MiB are in use, more than %d", used>>20, most>>20)
	}
}

// TestWaitingLookupsAreBounded sends lookups while slow clients hold the memory
// of all lookups. Those that exceed the limit of waiting ones are refused at once.
func TestWaitingLookupsAreBounded(t *testing.T) {
	const more = 10
	f := newFixture(t, httpd.Options{Memory: 64 << 20}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	batch := batchOf(100) // fits into the first buffer, so it waits once
	f.SetLookupWait(time.Millisecond)
	closed := make(chan struct{})
	var served sync.WaitGroup
	for range 600 { // of 16 KiB each, 8 MiB of memory
		var writing sync.WaitGroup
		writing.Add(1)
		served.Go(func() {
			_ = f.ServeConn(&heldConn{script{sent: bytes.NewReader([]byte(batch))}, 1 << 20, true, sync.OnceFunc(writing.Done), closed})
		})
		writing.Wait()
	}
	f.SetLookupWait(time.Hour)
	answers := make(chan string, httpd.MaxWaiting+more)
	for range httpd.MaxWaiting + more {
		go func() { answers <- f.exchange(t, batch) }()
	}
	for range more {
		if a := <-answers; !strings.HasPrefix(a, "HTTP/1.1 503 ") || !strings.Contains(a, "\r\nRetry-After: ") {
			t.Errorf("%.200q", a)
		}
	}
	close(closed)
	for range httpd.MaxWaiting {
		if a := <-answers; !strings.HasPrefix(a, "HTTP/1.1 200 ") {
			t.Errorf("after the slow clients: %.200q", a)
		}
	}
	served.Wait()
}

// TestKernelHoldsFewUnsentBytes writes to a client that does not read.
func TestKernelHoldsFewUnsentBytes(t *testing.T) {
	const most = 128 << 10
	ln, err := listenLoopback()
	must(t, err)
	defer ln.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	must(t, err)
	defer client.Close()
	must(t, client.(*net.TCPConn).SetReadBuffer(4096))
	server, err := ln.Accept()
	must(t, err)
	defer server.Close()
	socket, err := server.(*net.TCPConn).SyscallConn()
	must(t, err)
	written := 0
	must(t, socket.Control(func(fd uintptr) {
		for n := 0; err == nil; n, err = unix.Write(int(fd), make([]byte, 1<<20)) {
			written += n
		}
	}))
	if !errors.Is(err, unix.EAGAIN) || written > most {
		t.Errorf("the kernel took %d bytes, %v; want at most %d", written, err, most)
	}
}

// exchange sends text on a connection without a socket and returns the answers.
func (f *fixture) exchange(t testing.TB, text string) string {
	t.Helper()
	c := &script{sent: bytes.NewReader([]byte(text))}
	_ = f.ServeConn(c)
	return c.got.String()
}

// answeredHere returns the value of a metric of a server that does not listen.
func (f *fixture) answeredHere(t testing.TB, name string) string {
	t.Helper()
	for line := range strings.Lines(f.exchange(t, request("/prometheus"))) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("metric %s is missing", name)
	return ""
}

// TestRefusedLookupIsNotParsed compares the memory that a refused query of 1 MiB
// allocates with that of the same query cut off after its last permitted ID.
func TestRefusedLookupIsNotParsed(t *testing.T) {
	const size = 1 << 20
	long := `"` + strings.Repeat("a", httpd.MaxIDLen+1) + `"`
	for name, c := range map[string]struct{ start, element string }{
		"empty ids":         {`{"ids":[`, `""`},
		"empty ids, escape": {`{"ids":["\u0031",`, `""`},
		"empty ids, member": {`{"x":1,"IDS":[`, `""`},
		"long ids":          {`{"ids":[`, long},
		"long ids, escape":  {`{"ids":["\u0031",`, long},
		"one id of a MiB":   {`{"ids":[`, `"` + strings.Repeat("a", size-100) + `"`},
	} {
		n := (size - len(c.start) - 2) / (len(c.element) + 1)
		body := c.start + strings.Repeat(c.element+",", n-1) + c.element + "]}"
		got := testing.AllocsPerRun(3, func() {
			if err := httpd.Parse([]byte(body)); err == nil || !strings.Contains(err.Error(), "more than") {
				t.Errorf("%s: %v", name, err)
			}
		})
		t.Logf("%s: %.0f allocations", name, got)
		if most := 8.0 * httpd.MaxLookupIDs; got > most {
			t.Errorf("%s: %.0f allocations, more than %.0f", name, got, most)
		}
	}
}
