package updater

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// minProgress is how many bytes a client has to send in each StallTimeout,
	// so that one byte now and then does not hold up everybody else.
	minProgress = 16 << 10

	fieldName   = "data"
	readLen     = 256 << 10 // bytes that are read of a connection at once
	maxEpilogue = 4 << 10   // bytes behind the end of a form
)

// A body is what a client sends. Reads end with errStalled when it sends too
// little; the time between them, in which the build does other things, does
// not count.
type body struct {
	r        io.Reader
	control  *http.ResponseController
	timeout  time.Duration
	count    func(n int)
	received func() // is called when all has come

	waited time.Duration // for the bytes since the last progress
	got    int
	eof    bool

	mu     sync.Mutex // guards what follows
	closed bool       // no deadline may be set any more
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
	switch {
	case errors.Is(err, io.EOF):
		b.eof = true
		b.end()
		b.received()
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errStalled
	case err != nil && !errors.As(err, new(*http.MaxBytesError)):
		err = fmt.Errorf("%w: %w", errCut, err)
	}
	return n, err
}

func (b *body) setDeadline(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && b.control.SetReadDeadline(t) == nil
}

// end is called when all has come. From here on the server reads the connection
// to see whether the client is still there, which no deadline may end.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		_ = b.control.SetReadDeadline(time.Time{})
	}
}

// close ends a Read that is stuck, and all that follow.
func (b *body) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		_ = b.control.SetReadDeadline(time.Unix(1, 0))
	}
}

// tableOf is the table in a request with this body. Nothing is read before its
// first Read, since to read is what makes a client begin to send.
func tableOf(r *http.Request, body io.Reader) (io.Reader, error) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	encoding := r.Header.Get("Content-Encoding")
	if err != nil || kind != "multipart/form-data" {
		switch encoding {
		case "", "identity", "gzip", "x-gzip", "zstd": // content tells which
			return body, nil
		}
		return nil, malformed("the content encoding %.40q is none of gzip and zstd", encoding)
	}
	if encoding != "" && encoding != "identity" {
		return nil, malformed("the form is encoded with %.40q: compress the file in it, or send the file as the body", encoding)
	}
	if params["boundary"] == "" {
		return nil, malformed("the form has no boundary")
	}
	buffered := bufio.NewReaderSize(body, readLen)
	return &formTable{form: multipart.NewReader(buffered, params["boundary"]), rest: buffered}, nil
}

// A formTable is a form with one field, which is the table. It ends when the
// form has ended, and everything behind it has come.
type formTable struct {
	form *multipart.Reader
	rest io.Reader // what form has not read
	part *multipart.Part
}

func (t *formTable) Read(p []byte) (int, error) {
	if t.part == nil {
		part, err := t.next()
		if errors.Is(err, io.EOF) {
			return 0, malformed("the form has no field %q", fieldName)
		}
		if err != nil {
			return 0, err
		}
		t.part = part
	}
	n, err := t.part.Read(p)
	switch {
	case errors.Is(err, io.EOF) && n == 0:
		return 0, t.end()
	case errors.Is(err, io.EOF):
		return n, nil // the end comes with the next Read
	case err != nil:
		return n, asMalformed(err)
	}
	return n, nil
}

// next is the next part, which must be the table.
func (t *formTable) next() (*multipart.Part, error) {
	part, err := t.form.NextRawPart() // with no decoding of its own
	if err == io.EOF {                //nolint:errorlint // a wrapped one is no end
		return nil, io.EOF
	}
	if err != nil {
		return nil, asMalformed(err)
	}
	if name := part.FormName(); name != fieldName {
		return nil, malformed("the form has a field %.40q; there is to be %q and nothing else", name, fieldName)
	}
	return part, nil
}

// end is io.EOF if nothing comes behind the table but the end of the form.
func (t *formTable) end() error {
	_, err := t.next()
	switch {
	case err == nil:
		return malformed("the form has the field %q twice", fieldName)
	case !errors.Is(err, io.EOF):
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(t.rest, maxEpilogue+1))
	switch {
	case err != nil:
		return asMalformed(err)
	case n > maxEpilogue:
		return malformed("there is more behind the end of the form")
	}
	return io.EOF
}
