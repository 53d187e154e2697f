package builder

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/dustin/go-humanize"
	"github.com/klauspost/compress/zstd"

	"promostore/internal/gunzip"
)

// errMember is returned by members.Read between two members, if the second one
// may begin with a byte-order mark or a header.
var errMember = errors.New("end of a member")

// A members decompresses an input that consists of gzip members or zstd frames.
// Each may be a file of its own: "cat a.csv.gz b.csv.gz" is valid gzip data.
type members struct {
	format interface {
		open() (io.Reader, error) // the next member; io.EOF after the last one
		close()
	}

	member io.Reader
	ahead  []byte // the start of member, if it was read already
	head   [4]byte
}

func (m *members) Read(p []byte) (n int, err error) {
	if m.member == nil {
		if m.member, err = m.format.open(); err != nil {
			return 0, err
		}
	}
	for {
		if len(m.ahead) > 0 {
			n = copy(p, m.ahead)
			m.ahead = m.ahead[n:]
			return n, nil
		}
		n, err = m.member.Read(p)
		if n > 0 && errors.Is(err, io.EOF) {
			return n, nil // the next Read returns it again
		}
		if err != io.EOF { //nolint:errorlint // a wrapped EOF is an error
			return n, err
		}
		if m.member, err = m.format.open(); err != nil {
			return 0, err
		}
		n, _, err = readFull(m.member, m.head[:])
		if err != nil {
			return 0, err
		}
		m.ahead = m.head[:n]
		if maybeHeader(m.ahead) {
			return 0, errMember
		}
	}
}

// maybeHeader reports whether b can be the start of a file that begins with a
// byte-order mark, a blank line or a header. Rows begin with other characters.
func maybeHeader(b []byte) bool {
	b = bytes.TrimPrefix(b, []byte{'"'})
	return len(b) > 0 && bytes.IndexByte([]byte("iI\r\n\xef"), b[0]) >= 0
}

// gzipMember opens the members of gzip data.
type gzipMember struct{ z *gunzip.BlockReader }

func (g gzipMember) open() (io.Reader, error) { return g.z, g.z.Next() }
func (g gzipMember) close()                   { g.z.Close() }

// zstdFrame opens the frames of zstd data. As a reader, it returns the
// compressed bytes of the open frame and then io.EOF.
type zstdFrame struct {
	r *bufio.Reader
	z *zstd.Decoder

	left     int64 // bytes before the next block header
	last     bool  // no block follows
	checksum int64 // bytes after the last block
	whole    bool  // the rest of the data belongs to the frame
}

func (f *zstdFrame) open() (io.Reader, error) {
	b, err := f.r.Peek(zstd.HeaderMaxSize)
	if len(b) == 0 {
		return nil, err
	}
	*f = zstdFrame{r: f.r, z: f.z}
	var h zstd.Header
	switch err := h.Decode(b); {
	case errors.Is(err, zstd.ErrMagicMismatch):
		return nil, errTrailing
	case err != nil:
		f.whole = true // the decoder finds the error
	case windowOf(h) > maxWindow:
		return nil, windowError(windowOf(h))
	default:
		f.left = int64(h.HeaderSize) + int64(h.SkippableSize)
		f.last = h.Skippable
		if h.HasCheckSum {
			f.checksum = 4
		}
	}
	return f.z, f.z.Reset(f)
}

// windowOf returns the memory, in bytes, that a frame demands.
func windowOf(h zstd.Header) uint64 {
	if h.SingleSegment {
		return h.FrameContentSize
	}
	return h.WindowSize
}

// windowError returns the error for a window of size bytes.
func windowError(size uint64) error {
	return fmt.Errorf("%w: it has %s; compress the data without --long=%d and --ultra of zstd", ErrWindow, humanize.IBytes(size), bits.Len64(size-1))
}

func (f *zstdFrame) Read(p []byte) (int, error) {
	if f.left == 0 && !f.whole {
		if err := f.nextBlock(); err != nil {
			return 0, err
		}
	}
	if !f.whole {
		p = p[:min(int64(len(p)), f.left)]
	}
	n, err := f.r.Read(p)
	f.left -= int64(n)
	return n, err
}

// nextBlock sets left to the length of the next block with its header (RFC 8878,
// section 3.1.1.2), or to that of the checksum.
func (f *zstdFrame) nextBlock() error {
	if f.last {
		if f.left, f.checksum = f.checksum, 0; f.left == 0 {
			return io.EOF
		}
		return nil
	}
	const headerLen = 3
	b, err := f.r.Peek(headerLen)
	if err != nil {
		f.whole = true
		return nil
	}
	word := int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16
	f.last, f.left = word&1 != 0, headerLen+word>>3
	switch word >> 1 & 3 {
	case 1: // RLE: one byte, repeated
		f.left = headerLen + 1
	case 3: // reserved
		f.whole = true
	}
	return nil
}

func (f *zstdFrame) close() { f.z.Close() }

// Close ends the goroutines of the decompression.
func (m *members) Close() error {
	m.format.close()
	return nil
}
