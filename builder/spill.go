package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"promostore/format"
)

// Spilling. When the arena is full, its records are sorted and written to a
// temporary file as a run: sorted, one record of each key, whatever the
// distribution of the keys. Samples of its keys stay in memory and are what
// the merge plans with. Runs are in the order of the input.

const (
	spillPattern = ".promobuild-*.spill"
	minStep      = directRecords // records between two samples, at least
	maxStep      = 1 << 14       // the same at most: what is read for a range and not of it stays a small part
	maxSamples   = 4096          // of a run, about, unless maxStep makes it more
	maxPunch     = 8 << 20       // bytes
)

// A spill is the temporary file of a build, which has no name, so that it goes
// with the process. It is written in the background.
type spill struct {
	file *directFile
	runs []*run

	buf     []byte // what is not handed over to the writer yet
	size    int64  // bytes, with buf
	free    chan []byte
	full    chan []byte // to the writer
	written chan error  // its end
	failed  atomic.Bool // it writes no more
	flushed bool
	err     error // of all that was written, once flushed
}

// A run is a part of the spill. It begins at a multiple of directLen.
type run struct {
	spill   *spill
	off     int64 // bytes
	n       int64 // records
	step    int64 // records between two samples: a multiple of directRecords
	samples []format.Key

	mu      sync.Mutex
	punched int64 // bytes at its start that were given back to the file system
}

// openSpill makes a spill in dir. Until it is flushed it has the buffers, two
// or more, whose memory and length are as direct I/O needs them.
func openSpill(dir string, buffers [][]byte) (*spill, error) {
	f, err := os.CreateTemp(dir, spillPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) { // swept by another build
		f.Close()
		return nil, err
	}
	s := &spill{
		file:    newDirectFile(f),
		free:    make(chan []byte, len(buffers)),
		full:    make(chan []byte, len(buffers)),
		written: make(chan error, 1),
	}
	s.buf = buffers[0][:0]
	for _, b := range buffers[1:] {
		s.free <- b[:0]
	}
	go s.write()
	return s, nil
}

// write is the writer. After an error it goes on taking buffers, so that
// nobody waits for one.
func (s *spill) write() {
	var err error
	off := int64(0)
	for b := range s.full {
		if err == nil {
			if _, err = s.file.WriteAt(b, off); err != nil {
				err = fmt.Errorf("spill: %w", err)
				s.failed.Store(true)
			}
			off += int64(len(b))
		}
		s.free <- b[:0]
	}
	s.written <- err
}

// append writes data, now or later. Once something could not be written,
// append returns false, and flush the reason.
func (s *spill) append(data []byte) bool {
	s.size += int64(len(data))
	for len(data) > 0 {
		n := copy(s.buf[len(s.buf):cap(s.buf)], data)
		s.buf, data = s.buf[:len(s.buf)+n], data[n:]
		if len(s.buf) == cap(s.buf) {
			s.full <- s.buf
			s.buf = <-s.free
		}
	}
	return !s.failed.Load()
}

// flush waits until everything is written. Nothing can be appended afterwards.
func (s *spill) flush() error {
	if !s.flushed {
		s.flushed = true
		s.full <- s.buf
		close(s.full)
		s.err = <-s.written
	}
	return s.err
}

func (s *spill) close() error {
	_ = s.flush() // an error of interest was returned before
	return s.file.Close()
}

// sweepSpills removes what was killed between the two steps of openSpill, as
// far as it can: it may be another user's, and does no harm.
func sweepSpills(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if spill, err := filepath.Match(spillPattern, e.Name()); err == nil && spill && e.Type().IsRegular() {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// begin starts a run of up to n records. It is the sink of one sort.
func (s *spill) begin(n int) *run {
	r := &run{spill: s, off: s.size, step: stepFor(int64(n))}
	s.runs = append(s.runs, r)
	return r
}

// stepFor is how many records there are between two samples of a run of n.
func stepFor(n int64) int64 {
	return min(max(minStep, (n/maxSamples+directRecords-1)/directRecords*directRecords), maxStep)
}

// end closes the run that was begun last.
func (s *spill) end() {
	var zeros [directLen]byte
	s.append(zeros[:-s.size&(directLen-1)])
}

func (r *run) prepare([]format.Record) {}

func (r *run) place(records []format.Record) (func() error, error) {
	for i := (r.step - r.n%r.step) % r.step; i < int64(len(records)); i += r.step {
		r.samples = append(r.samples, records[i].Key())
	}
	r.n += int64(len(records))
	if !r.spill.append(format.Bytes(records)) {
		return nil, r.spill.flush()
	}
	return func() error { return nil }, nil
}

// read reads the records from lo to hi into dst, whose memory must begin at a
// multiple of directLen and have room for a multiple of directRecords; lo must
// be one.
func (r *run) read(dst []format.Record, lo, hi int64) ([]format.Record, error) {
	whole := (hi - lo + directRecords - 1) / directRecords * directRecords
	if _, err := r.spill.file.ReadAt(format.Bytes(dst[:whole]), r.off+lo*format.RecordLen); err != nil {
		return nil, fmt.Errorf("spill: %w", err)
	}
	return dst[:hi-lo], nil
}

// around is the records, from one sample to another, among which all with keys
// below k end: what is in front of lo is below k, what is behind hi is not.
func (r *run) around(k format.Key) (lo, hi int64) {
	i, _ := slices.BinarySearchFunc(r.samples, k, format.Key.Compare)
	return max(0, int64(i-1)) * r.step, min(int64(i)*r.step, r.n)
}

// consumed gives the disk of the first n records back, a sixteenth of the run
// at once or less. That a file system cannot do it costs disk only.
func (r *run) consumed(n int64) {
	end := r.off + n*format.RecordLen
	r.mu.Lock()
	defer r.mu.Unlock()
	start := r.off + r.punched
	if end-start < min(maxPunch, r.n*format.RecordLen/16) && n < r.n || end <= start {
		return
	}
	r.punched = end - r.off
	_ = r.spill.file.punch(start, end-start)
}
