package builder

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"

	"promostore/internal/gunzip"
)

// A CompressionError reports an input that cannot be decompressed.
type CompressionError struct {
	Kind  string // gzip or zstd
	Cause error
	Line  int64 // the last line before the damage that was read
}

func (e *CompressionError) Error() string {
	text := fmt.Sprintf("%s data: %v", e.Kind, e.Cause)
	if e.Line > 0 {
		text += fmt.Sprintf(", after line %d", e.Line)
	}
	return text
}

// Unwrap returns the cause.
func (e *CompressionError) Unwrap() error { return e.Cause }

// ErrWindow means that the window of a zstd frame is larger than 8 MiB. No level of
// the zstd command needs more, except for its ultra and long modes.
var ErrWindow = fmt.Errorf("the window is larger than %d MiB", maxWindow>>20)

// maxWindow is the most memory, in bytes, that a zstd stream may demand.
const maxWindow = 8 << 20

// ErrExpansion means that an input expands more than a data set can. A
// compressed row needs the 16 random bytes of its id, so a data set cannot
// expand 200-fold. Without this limit a few megabytes could keep a build busy
// for any time.
var ErrExpansion = errors.New("not a data set")

// ErrNoRows means that a compressed input consists mostly of bytes that
// decompress to nothing, such as empty frames. Without this limit 40 MB of empty
// zstd frames, which take 7 µs each, kept a build busy for 32 s.
var ErrNoRows = errors.New("compressed data without rows")

const (
	maxHollow    = 1 << 20  // compressed bytes that may exceed twice the decompressed ones
	maxExpansion = 200      // decompressed bytes for each compressed byte
	maxFree      = 64 << 20 // decompressed bytes that may exceed maxExpansion
)

// errTrailing means that compressed data is complete, but not alone.
var errTrailing = errors.New("other data follows it")

// errShort means that zstd data ends within a frame. Damage can have this effect
// too.
var errShort = errors.New("truncated or damaged: it ends within a frame")

// decompressError returns err as a *CompressionError if it comes from the
// decompression and not from the file.
func (s *source) decompressError(err error) error {
	if errors.Is(s.raw.err, ErrNoRows) { // err may hide it
		return fmt.Errorf("%w: %s data", ErrNoRows, s.kind)
	}
	switch {
	case s.kind == "" || s.raw.err != nil:
		return err
	case errors.Is(err, errTrailing), errors.Is(err, ErrWindow), errors.As(err, new(*gunzip.Error)):
		return &CompressionError{Kind: s.kind, Cause: err}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &CompressionError{Kind: s.kind, Cause: errShort}
	}
	return &CompressionError{Kind: s.kind, Cause: fmt.Errorf("truncated or damaged: %w", err)}
}

// inputBuffer is the size, in bytes, of a read of a compressed input. Reads of 4
// KiB take 8 % more processor time to decompress zstd.
const inputBuffer = 64 << 10

// decompress detects the compression of r by its first bytes. It decompresses
// BGZF data with this number of goroutines.
func decompress(r io.Reader, decoders int) (plain io.Reader, kind string, err error) {
	b := bufio.NewReaderSize(r, inputBuffer)
	magic, err := b.Peek(4)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is an error
		return nil, "", err
	}
	switch {
	case isGzip(magic):
		return &members{format: gzipMember{gunzip.NewBlockReader(b, decoders)}}, "gzip", nil
	case isZstd(magic):
		z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		return &members{format: &zstdFrame{r: b, z: z}}, "zstd", err
	}
	return b, "", nil
}

// The memory of a decompression in bytes: twice its buffers, because those of
// another input may not be collected yet.
const (
	gzipMemory = 1 << 20
	zstdMemory = 2 * (maxWindow + 1<<20)
)

// decompressMemory returns the memory, in bytes, that the decompression of the
// file at path takes. It is 0 if the file is plain or cannot be read.
func decompressMemory(path string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	var magic [4]byte
	n, _, _ := readFull(f, magic[:]) // the build reports the error
	switch {
	case isGzip(magic[:n]):
		return gzipMemory
	case isZstd(magic[:n]):
		return zstdMemory
	}
	return 0
}

// isGzip reports whether b begins with a member (RFC 1952).
func isGzip(b []byte) bool { return bytes.HasPrefix(b, []byte{0x1F, 0x8B}) }

// isZstd reports whether b begins with a frame or a skippable frame (RFC 8878).
func isZstd(b []byte) bool {
	if len(b) < 4 {
		return false
	}
	word := binary.LittleEndian.Uint32(b)
	return word == 0xFD2FB528 || word&^0xF == 0x184D2A50
}

// A counter counts the bytes that it reads, and keeps the error of a read.
type counter struct {
	r      io.Reader
	n      *atomic.Int64
	read   int64 // bytes
	hollow int64 // bytes that may be read before more are decompressed
	err    error
}

func (c *counter) Read(p []byte) (int, error) {
	if c.hollow < 0 {
		c.err = ErrNoRows
		return 0, c.err
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	c.read += int64(n)
	c.hollow -= int64(n)
	if err != nil && err != io.EOF { //nolint:errorlint // a wrapped EOF is an error
		c.err = err
	}
	return n, err
}
