package builder

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// An Input is one CSV, plain or compressed.
type Input struct {
	Name string // for messages
	Size int64  // bytes, compressed if it is; 0 if unknown
	Open func() (io.ReadCloser, error)

	err error // known before anything is read
}

// FileInput is the file with this path.
func FileInput(path string) Input {
	in := Input{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}
	st, err := os.Stat(path)
	if err != nil {
		in.err = err
	} else if st.Mode().IsRegular() {
		in.Size = st.Size()
	}
	return in
}

// StreamInput reads r, once. name is for messages. When a build is given up
// while a Read of r is stuck, Build returns at once and the Read is left
// behind, unless r is a pipe of the system.
func StreamInput(name string, r io.Reader) Input {
	return Input{Name: name, Open: func() (io.ReadCloser, error) { return notClosed{r}, nil }}
}

type notClosed struct{ io.Reader }

func (notClosed) Close() error { return nil }

// A chunk is a part of one input: whole lines, the last of which may lack its
// line end.
type chunk struct {
	seq   int64 // counted from 0 over all inputs
	input int
	first bool // of its input: it may begin with a byte-order mark and a header
	long  bool // the start of a row that is longer than a chunk
	data  []byte
}

// A source cuts the inputs into chunks. Not safe for concurrent use.
type source struct {
	ctx    context.Context
	inputs []Input

	read  atomic.Int64 // bytes of the inputs, as they are on the disk
	plain int64        // the same, decompressed

	seq   int64
	input int // the one that is open, or the next to be
	file  io.ReadCloser
	raw   *counting // of file
	kind  string    // of its compression; empty if there is none
	r     io.Reader // of raw, decompressed; nil if no file is open
	first bool
	skip  bool   // up to the end of a long row
	carry []byte // the start of a line that the last chunk had no room for
}

// next fills buf, which is as long as the longest row, with the next chunk; ok
// is false at the end of the last input.
func (s *source) next(buf []byte) (c chunk, ok bool, err error) {
	for {
		if err := s.ctx.Err(); err != nil {
			return chunk{}, false, err
		}
		if s.r == nil {
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
		if s.r == nil {
			s.input++
		}
		if len(c.data) > 0 {
			c.seq = s.seq
			s.seq++
			return c, true, nil
		}
	}
}

// fill reads one chunk of the open input, and closes it at its end.
func (s *source) fill(buf []byte) (chunk, error) {
	n := copy(buf, s.carry)
	s.carry = s.carry[:0]
	m, eof, err := readFull(s.r, buf[n:])
	if err != nil {
		return chunk{}, s.damaged(err)
	}
	n += m
	if s.plain += int64(m); s.plain > maxFree && s.plain/maxExpansion > s.read.Load() {
		return chunk{}, fmt.Errorf("%w: %d bytes of %s data are more than %d bytes of rows", ErrExpansion, s.read.Load(), s.kind, s.plain)
	}
	c := chunk{input: s.input, first: s.first}
	b := buf[:n]
	if s.skip {
		i := bytes.IndexByte(b, '\n')
		s.skip = i < 0
		b = b[i+1:]
		if s.skip {
			b = nil
		}
	}
	if eof {
		c.data = b
		return c, s.close()
	}
	end := bytes.LastIndexByte(b, '\n') + 1
	if end == 0 && len(b) == len(buf) {
		c.long, s.skip, end = true, true, len(b)
	}
	c.data = b[:end]
	s.carry = append(s.carry, b[end:]...)
	if end > 0 {
		s.first = false
	}
	return c, nil
}

func (s *source) open() error {
	in := s.inputs[s.input]
	f, err := openInput(s.ctx, in)
	if err != nil {
		return err
	}
	f = stoppable(s.ctx, f)
	s.file, s.first, s.skip = f, true, false
	s.raw = &counting{r: f, n: &s.read}
	if s.r, s.kind, err = decompress(s.raw); err != nil {
		f.Close()
		s.r = nil
		return s.named(s.damaged(err))
	}
	return nil
}

// named puts the name of the open input before an error that lacks it.
func (s *source) named(err error) error {
	name := s.inputs[s.input].Name
	if path := new(fs.PathError); errors.As(err, &path) && path.Path == name {
		return err
	}
	return fmt.Errorf("%s: %w", name, err)
}

// damaged says of an error what it means, unless it is one of the file.
func (s *source) damaged(err error) error {
	if s.kind == "" || s.raw.err != nil {
		return err
	}
	if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return &CompressionError{s.kind, fmt.Errorf("%w: at most %d MiB are supported; compress it without --ultra and --long", err, maxWindow>>20)}
	}
	return &CompressionError{s.kind, fmt.Errorf("it is cut off or damaged: %w", err)}
}

// A CompressionError says that an input cannot be decompressed.
type CompressionError struct {
	Kind  string // gzip or zstd
	Cause error
}

func (e *CompressionError) Error() string { return fmt.Sprintf("%s data: %v", e.Kind, e.Cause) }
func (e *CompressionError) Unwrap() error { return e.Cause }

// ErrExpansion says that an input is compressed as no table can be: its rows
// have ids of their own, of which two hundred are more than 78 bytes. Without a
// limit a few megabytes would keep a build busy for as long as they like.
var ErrExpansion = errors.New("this is no table")

const (
	maxExpansion = 200      // times
	maxFree      = 64 << 20 // bytes, decompressed, up to which it does not matter
)

// openInput opens in. A FIFO without a writer would hold it up for ever.
func openInput(ctx context.Context, in Input) (io.ReadCloser, error) {
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
		return r.f, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *source) close() error {
	if s.r == nil {
		return nil
	}
	if d, ok := s.r.(*zstd.Decoder); ok {
		d.Close()
	}
	s.r = nil
	return s.file.Close()
}

// readFull fills b unless the end of r comes before. Unlike io.ReadFull it
// tells that end from io.ErrUnexpectedEOF, which is what a reader says of a
// compressed stream that was cut.
func readFull(r io.Reader, b []byte) (n int, eof bool, err error) {
	for n < len(b) {
		m, err := r.Read(b[n:])
		n += m
		if err == io.EOF { //nolint:errorlint // a wrapped one is no end
			return n, true, nil
		}
		if err != nil {
			return n, false, err
		}
	}
	return n, false, nil
}

// maxWindow is the most memory that a zstd stream may ask for. It covers every
// level of the zstd command but --ultra and --long.
const maxWindow = 8 << 20

// decompress looks at the first bytes of r to see what it is.
func decompress(r io.Reader) (plain io.Reader, kind string, err error) {
	var magic [4]byte
	n, _, err := readFull(r, magic[:])
	if err != nil {
		return nil, "", err
	}
	all := io.MultiReader(bytes.NewReader(magic[:n]), r)
	switch word := binary.LittleEndian.Uint32(magic[:]); {
	case word&0xFFFF == 0x8B1F: // RFC 1952
		plain, err = gzip.NewReader(all)
		return plain, "gzip", err
	case word == 0xFD2FB528, word&^0xF == 0x184D2A50: // RFC 8878: a frame, a skippable frame
		plain, err = zstd.NewReader(all, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		return plain, "zstd", err
	default:
		return all, "", nil
	}
}

// counting counts what is read, and remembers why it could not be.
type counting struct {
	r   io.Reader
	n   *atomic.Int64
	err error
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped one is no end
		c.err = err
	}
	return n, err
}
