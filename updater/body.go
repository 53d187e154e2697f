package updater

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// minProgress is the number of bytes that a client must send in each stall
// timeout. Without it, a client that sends one byte now and then would hold the
// build slot forever.
const minProgress = 16 << 10

// A body reads the body of an upload. A Read returns errStalled if the client
// sends less than minProgress in a timeout. Only the time inside of Read
// counts: between two Reads the client waits for the build.
type body struct {
	r        io.Reader
	control  *http.ResponseController
	timeout  time.Duration
	count    func(n int) // is called with the number of bytes of each Read
	received func()      // is called when the whole body has arrived

	waited time.Duration // in Read since the last progress
	got    int           // bytes since the last progress
	eof    bool

	mu     sync.Mutex // guards closed and the read deadline
	closed bool       // the deadline is final
}

func (b *body) Read(p []byte) (int, error) {
	if b.eof {
		return 0, io.EOF
	}
	began := time.Now()
	if !b.setDeadline(began.Add(b.timeout - b.waited)) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.r.Read(p)
	b.waited += time.Since(began)
	b.got += n
	b.count(n)
	if b.got >= minProgress {
		b.waited, b.got = 0, 0
	}
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, io.EOF):
		b.eof = true
		b.end()
		b.received()
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errStalled
	case errors.As(err, &large):
		err = &TooLargeError{large.Limit}
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errCut
	case err != nil:
		err = fmt.Errorf("%w: %w", errCut, err)
	}
	return n, err
}

func (b *body) setDeadline(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && b.control.SetReadDeadline(t) == nil
}

// end removes the deadline after the whole body was read. From then on net/http
// reads the connection to notice a client that goes away, and no deadline may
// interrupt that read.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

// close interrupts a running Read and makes later ones fail.
func (b *body) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}
