package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/dustin/go-humanize"

	"promostore/internal/english"
	"promostore/internal/fsx"
)

// An Input is one CSV, plain or compressed with gzip or zstd.
type Input struct {
	Name string // for messages
	Size int64  // bytes, before decompression; 0 if unknown
	Open func() (io.ReadCloser, error)

	path   string  // of a file that must not change during the build; empty: none
	object *object // is read instead of Open; nil: none
	memory int64   // bytes that its decompression takes; 0 if it is plain, or not known
	err    error   // known before the build
}

// FileInput returns an Input that reads the file at path. If it is a regular file
// that is written or truncated during the build, Build returns a *ChangedError.
func FileInput(path string) Input {
	in := Input{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}
	st, err := os.Stat(path)
	if err != nil {
		in.err = err
	} else if st.Mode().IsRegular() {
		in.Size, in.path, in.memory = st.Size(), path, decompressMemory(path)
	}
	return in
}

// StreamInput returns an input that reads r, once, and does not close it. name
// is for messages. If a build is canceled while r.Read blocks, Build returns at
// once; the Read goes on in a goroutine until r returns.
func StreamInput(name string, r io.Reader) Input {
	return Input{Name: name, Open: func() (io.ReadCloser, error) { return notClosed{r}, nil }}
}

type notClosed struct{ io.Reader }

func (notClosed) Close() error { return nil }

// inputSize returns the size of all inputs, or 0 if it is unknown.
func inputSize(inputs []Input) (int64, error) {
	if len(inputs) == 0 {
		return 0, errors.New("no input")
	}
	total, known := int64(0), true
	for _, in := range inputs {
		if in.err != nil {
			return 0, in.err
		}
		total += in.Size
		known = known && (in.Size > 0 || in.object != nil)
	}
	if !known {
		return 0, nil
	}
	return total, nil
}

// A chunk is a part of one input: whole lines, or the last one without its end.
type chunk struct {
	lane  int
	seq   int64 // counted from 0 over the inputs of the lane
	input int
	first bool // of its input, gzip member or zstd frame: may begin with a byte-order mark and a header
	long  bool // the start of a row that is longer than a chunk
	cut   bool // the last row of its input, alone, without a line end
	data  []byte
	err   *CompressionError // follows data and ends the input; nil if there is none
}

// order returns a number that is higher for each following chunk of the input,
// over all lanes.
func (c *chunk) order() int64 { return int64(c.lane)<<40 | c.seq }

// A source divides the inputs of a lane into chunks. Its next method is safe for
// concurrent use.
type source struct {
	ctx      context.Context
	totals   *totals
	index    int     // of the lane
	lane     lane    // guarded by lanes.mu
	inputs   []Input // up to the last one of the lane
	final    bool    // Options.RequireFinalNewline
	plain    bool    // the inputs of the lane are regular files that are not compressed
	decoders int     // goroutines that decompress BGZF data
	parts    objectParts

	mu      sync.Mutex // guards the fields after it
	seq     int64
	input   int // the open input, or the next one
	file    io.ReadCloser
	raw     *counter  // reads file
	kind    string    // compression; empty if there is none
	r       io.Reader // decompresses raw; nil if no input is open
	begun   bool      // the open input was not empty
	first   bool
	skip    bool   // to the end of a long row
	newline bool   // the last byte read from the open input is a line end, or there is none
	carry   []byte // start of a line that did not fit into the last chunk
	ended   bool   // the input was read to its end and closed; carry holds its last line

	opened       []openedFile
	unterminated []int // inputs that do not end with a line end
}

// An openedFile is an input file with its identity when it was opened.
type openedFile struct {
	path string
	id   fsx.Identity
}

// next reads the next chunk into buf, which must be as long as the longest row.
// ok is false after the last input.
func (s *source) next(buf []byte) (c chunk, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if err := s.ctx.Err(); err != nil {
			return chunk{}, false, err
		}
		if s.r == nil && !s.ended {
			if s.input == len(s.inputs) {
				return chunk{}, false, nil
			}
			if err := s.open(); err != nil {
				return chunk{}, false, err
			}
		}
		c, err := s.fill(buf)
		if err != nil {
			return chunk{}, false, s.named(err)
		}
		if s.r == nil && !s.ended {
			s.input++
		}
		if len(c.data) > 0 || c.err != nil || s.ended { // the last line is a chunk of its own
			c.lane, c.seq = s.index, s.seq
			s.seq++
			return c, true, nil
		}
	}
}

// fill reads one chunk of the open input and closes the input at its end. A chunk
// ends before a member that may begin with a header.
func (s *source) fill(buf []byte) (chunk, error) {
	c := chunk{input: s.input, first: s.first}
	n := copy(buf, s.carry)
	s.carry = s.carry[:0]
	if s.ended {
		s.ended = false
		c.cut, c.data = true, buf[:n]
		return c, nil
	}
	var eof, member bool
	for {
		m, end, err := readFull(s.r, buf[n:])
		n += m
		s.raw.hollow += 2 * int64(m)
		plain := s.totals.plain.Add(int64(m))
		eof, member = end, errors.Is(err, errMember)
		switch {
		case err != nil && !member:
			if err = s.decompressError(err); !errors.As(err, &c.err) {
				return chunk{}, err
			}
		case plain > maxFree && plain/maxExpansion > s.totals.read.Load():
			return chunk{}, fmt.Errorf("%w: %s bytes of %s data expand to more than %s bytes, %d-fold; if it is one, decompress it first",
				ErrExpansion, humanize.Comma(s.totals.read.Load()), s.kind, humanize.Comma(plain), maxExpansion)
		}
		if member && (n == 0 && s.skip || n > 0 && buf[n-1] != '\n') {
			continue // a row extends over both members
		}
		break
	}
	b := buf[:n]
	if !s.begun && n > 0 {
		s.begun = true
		if err := checkKind(b, s.kind); err != nil {
			return chunk{}, err
		}
	}
	if s.skip {
		i := bytes.IndexByte(b, '\n')
		s.skip = i < 0
		b = b[i+1:]
		if s.skip {
			b = nil
		}
	}
	end := bytes.LastIndexByte(b, '\n') + 1
	if n > 0 {
		s.newline = buf[n-1] == '\n'
	}
	if eof {
		if !s.newline {
			s.unterminated = append(s.unterminated, s.input)
			if s.final {
				return chunk{}, ErrUnterminated
			}
		}
		c.data = b[:end]
		if end == len(b) {
			return c, s.close()
		}
		if end > 0 {
			s.first = false
		}
		s.carry, s.ended = append(s.carry, b[end:]...), true
		return c, s.close()
	}
	if end == 0 && len(b) == len(buf) {
		c.long, s.skip, end = true, true, len(b)
	}
	c.data = b[:end]
	if c.err != nil {
		s.inputs = s.inputs[:s.input+1] // read no others
		return c, s.close()
	}
	s.carry = append(s.carry, b[end:]...)
	if end > 0 || member {
		s.first = member
	}
	return c, nil
}

func (s *source) open() error {
	in := s.inputs[s.input]
	f, err := openInput(s.ctx, in, s.parts)
	if err != nil {
		return err
	}
	s.file, s.begun, s.first, s.skip, s.newline = f, in.continues(), !in.continues(), false, true
	if file, ok := f.(*os.File); ok && in.path != "" {
		info, err := file.Stat()
		if err != nil {
			f.Close()
			return err
		}
		s.opened = append(s.opened, openedFile{in.path, fsx.IdentityOf(info)})
	}
	s.raw = &counter{r: f, n: &s.totals.read, hollow: maxHollow}
	if in.isRange() {
		s.r, s.kind = s.raw, ""
		return nil
	}
	if s.r, s.kind, err = decompress(s.raw, s.decoders); err != nil {
		f.Close()
		s.r = nil
		return s.named(err)
	}
	return nil
}

// A ChangedError reports an input file that was written or truncated during the
// build, or an object that was replaced.
type ChangedError struct {
	Name         string
	Opened, Size int64  // bytes of a file, when it was opened and now
	ETag         string // of an object before the build; empty for a file
}

func (e *ChangedError) Error() string {
	if e.ETag != "" {
		return fmt.Sprintf("%s: replaced during the build; its ETag was %s", e.Name, e.ETag)
	}
	if e.Opened == e.Size {
		return fmt.Sprintf("%s: written during the build; it still has %s", e.Name, english.Count(e.Size, "byte"))
	}
	return fmt.Sprintf("%s: changed during the build: %s when it was opened, %s now", e.Name, english.Count(e.Opened, "byte"), english.Count(e.Size, "byte"))
}

// ErrUnterminated means that the last row of an input has no line end, so that
// the input may be incomplete.
var ErrUnterminated = errors.New("the last row has no line end")

// checkUnchanged returns a *ChangedError if an input file has changed since it
// was opened. A file that was replaced or removed is unchanged itself.
func (s *source) checkUnchanged() error {
	for _, f := range s.opened {
		info, err := os.Stat(f.path)
		if err != nil {
			continue
		}
		if now := fsx.IdentityOf(info); now.SameFile(f.id) && !now.SameContent(f.id) {
			return &ChangedError{Name: f.path, Opened: f.id.Size, Size: now.Size}
		}
	}
	return nil
}

// left returns the compressed bytes of the lane that have not been read. No next
// may be running.
func (s *source) left() (n int64) {
	for _, in := range s.inputs[s.input:] {
		n += in.Size
	}
	if s.r != nil {
		n -= s.raw.read
	}
	return n
}

// named adds the name of the open input to an error that lacks it.
func (s *source) named(err error) error {
	name := s.inputs[s.input].Name
	if path := new(fs.PathError); errors.As(err, &path) && path.Path == name || strings.HasPrefix(err.Error(), name+": ") {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// openInput opens in. Open blocks on a FIFO without a writer; openInput does not
// wait for it after ctx is done. Reads of the result end when ctx is done.
func openInput(ctx context.Context, in Input, parts objectParts) (io.ReadCloser, error) {
	if in.object != nil {
		return in.object.open(ctx, parts)
	}
	type result struct {
		f   io.ReadCloser
		err error
	}
	done := make(chan result, 1)
	go func() {
		f, err := in.Open()
		done <- result{f, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, r.err
		}
		return cancelableReader(ctx, r.f), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// close closes the open input, if there is one.
func (s *source) close() error {
	if s.r == nil {
		return nil
	}
	var err error
	if m, ok := s.r.(*members); ok {
		err = m.Close()
	}
	err = errors.Join(err, s.file.Close())
	s.r, s.file, s.raw.r = nil, nil, nil // the buffers of an object can be collected
	return err
}

// readFull fills b unless r ends first. Unlike io.ReadFull it does not return
// io.ErrUnexpectedEOF at the end of r: that is the error of a decompressor for a
// truncated stream.
func readFull(r io.Reader, b []byte) (n int, eof bool, err error) {
	for n < len(b) {
		m, err := r.Read(b[n:])
		n += m
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is an error
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}
