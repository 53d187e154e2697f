package gunzip

import (
	"bytes"
	"io"
	"sync"
)

// The limits of the members of BGZF data; SAM specification, section 4.1.
const (
	maxBlock = 64 << 10 // bytes of a member, and of its data

	// minHeader is the least length of a header with the extra field that has
	// the length of the member.
	minHeader = 18
)

// Limits of the members that a BlockReader reads ahead. The second one bounds the
// bytes that have been read while their data has not been returned.
const (
	blocksAhead = 4 // for each decoder
	maxAhead    = 512 << 10
)

// maxDecoders bounds the memory. Eight decoders decompress as fast as 20
// processors parse.
const maxDecoders = 8

// A BlockReader is a Reader that decompresses the members of BGZF data at the
// same time. BGZF is the format of bgzip: each member tells its length, so that
// the next one is found before the member is decompressed. Other members are
// decompressed one after the other.
//
// A BlockReader returns the same bytes and the same errors as a Reader of the
// same stream. It trusts no length: if a member does not end where it says, the
// rest of the stream is read like any other.
//
// A BlockReader takes 420 KiB. After the first member of BGZF data each decoder
// takes up to 900 KiB more. The caller must call Close.
type BlockReader struct {
	serial   *Reader // reads other members; its bits hold the input
	decoders int     // fewer than 2: none
	inOrder  bool    // a member had another length than it told

	work   chan *block // nil before the first block
	done   sync.WaitGroup
	queue  []*block // in the order of the stream; the first one is being read
	queued int      // bytes of the stream in queue
	unused []*block
}

// A block is one member of BGZF data.
type block struct {
	offset int64  // of the stream
	in     []byte // the member
	out    [maxBlock]byte
	data   []byte        // of out: bytes that have not been read
	valid  bool          // the member is valid and ends where it says
	done   chan struct{} // receives a value when data and valid are set
}

// NewBlockReader returns a BlockReader of src with at most this number of
// decoders, which are goroutines. It reads nothing before the first Next.
func NewBlockReader(src io.Reader, decoders int) *BlockReader {
	return &BlockReader{serial: NewReader(src), decoders: min(decoders, maxDecoders)}
}

// Next goes to the next member, like [Reader.Next].
func (r *BlockReader) Next() error {
	if len(r.queue) > 0 {
		r.release()
	}
	if r.serial.err == nil && r.decoders > 1 && !r.inOrder {
		r.readAhead()
	}
	if len(r.queue) == 0 {
		return r.serial.Next()
	}
	b := r.queue[0]
	<-b.done
	if !b.valid {
		r.unread()
		return r.serial.Next()
	}
	r.serial.members++
	return nil
}

// Read returns decompressed bytes of the member, like [Reader.Read].
func (r *BlockReader) Read(p []byte) (int, error) {
	if len(r.queue) == 0 {
		return r.serial.Read(p)
	}
	b := r.queue[0]
	if len(b.data) == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

// Close ends the decoders. It does not close the source.
func (r *BlockReader) Close() {
	if r.work != nil {
		close(r.work)
		r.done.Wait()
		r.work, r.decoders = nil, 0
	}
}

// readAhead reads members until there are enough for the decoders, or until one
// is no block. An error of the source is returned by the serial Reader, after
// all blocks.
func (r *BlockReader) readAhead() {
	bits := &r.serial.bits
	bits.unload()
	for len(r.queue) < r.decoders*blocksAhead && r.queued < maxAhead {
		n := bits.blockLen()
		if n == 0 {
			return
		}
		if r.work == nil {
			r.start()
		}
		b := r.block()
		b.offset = bits.before + int64(bits.pos)
		b.in = append(b.in[:0], bits.buf[bits.pos:bits.pos+n]...)
		bits.pos += n
		r.queue = append(r.queue, b)
		r.queued += n
		r.work <- b
	}
}

// blockLen returns the length of the member of BGZF data at the position. It
// returns 0 if there is none, or if its end cannot be read.
func (b *bitReader) blockLen() int {
	if b.fetch(minHeader) != nil || b.limit-b.pos < minHeader {
		return 0
	}
	h := b.buf[b.pos:b.limit]
	if h[0] != magic&0xFF || h[1] != magic>>8 || h[2] != methodDeflate || h[3]&flagExtra == 0 {
		return 0
	}
	fields := h[12:]
	fields = fields[:min(len(fields), int(h[10])|int(h[11])<<8)]
	for len(fields) >= 6 {
		if n := int(fields[2]) | int(fields[3])<<8; fields[0] != 'B' || fields[1] != 'C' || n != 2 {
			fields = fields[min(len(fields), 4+n):]
			continue
		}
		size := int(fields[4]) | int(fields[5])<<8 + 1
		if size < minHeader || b.fetch(size) != nil || b.limit-b.pos < size {
			return 0
		}
		return size
	}
	return 0
}

// start starts the decoders.
func (r *BlockReader) start() {
	work := make(chan *block, r.decoders*blocksAhead) // never full
	r.work = work
	for range r.decoders {
		r.done.Go(func() {
			z := NewReader(nil)
			for b := range work {
				b.decompress(z)
				b.done <- struct{}{}
			}
		})
	}
}

// block returns an unused block.
func (r *BlockReader) block() *block {
	n := len(r.unused)
	if n == 0 {
		return &block{done: make(chan struct{}, 1)}
	}
	b := r.unused[n-1]
	r.unused = r.unused[:n-1]
	return b
}

// release takes the first block from the queue. It has been decompressed.
func (r *BlockReader) release() {
	b := r.queue[0]
	r.queue = append(r.queue[:0], r.queue[1:]...)
	r.queued -= len(b.in)
	r.unused = append(r.unused, b)
}

// unread gives the members of the queue back to the serial Reader, which then
// reads all others.
func (r *BlockReader) unread() {
	bits := &r.serial.bits
	offset := r.queue[0].offset
	var unread bytes.Buffer
	for i, b := range r.queue {
		if i > 0 {
			<-b.done
		}
		unread.Write(b.in)
	}
	unread.Write(bits.buf[bits.pos:bits.limit])
	src := bits.src
	switch {
	case bits.eof:
		src = ended{io.EOF}
	case bits.srcErr != nil:
		src = ended{bits.srcErr}
	}
	bits.reset(io.MultiReader(&unread, src))
	bits.before = offset
	r.queue, r.unused, r.queued, r.inOrder = nil, nil, 0, true
}

// An ended source has returned its last byte.
type ended struct{ err error }

func (e ended) Read([]byte) (int, error) { return 0, e.err }

// decompress sets data and valid.
func (b *block) decompress(z *Reader) {
	z.Reset(bytes.NewReader(b.in))
	b.data, b.valid = nil, false
	if z.Next() != nil {
		return
	}
	n := 0
	for n < maxBlock {
		m, err := z.Read(b.out[n:])
		if n += m; err != nil {
			break
		}
	}
	if m, err := z.Read(make([]byte, 1)); m > 0 || err != io.EOF { //nolint:errorlint // a wrapped EOF is an error
		return
	}
	atEnd, _ := z.bits.atEnd()
	b.data, b.valid = b.out[:n], atEnd
}
