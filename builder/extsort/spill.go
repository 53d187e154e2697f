package extsort

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

// Spill. When the arena is full, its records are sorted and written to a
// temporary file as a run: sorted, with one record of each key. Samples of the
// keys stay in memory; the merge plans with them. The records of a lane are in
// the runs in the order of the input.

const (
	spillPattern = ".promobuild-*.spill"
	minStep      = directRecords // fewest records from one sample to the next
	maxStep      = 1 << 14       // most records from one sample to the next; bounds what a range reads in vain
	maxSamples   = 4096          // approximate number in a run, unless maxStep makes it larger
	maxPunch     = 8 << 20       // bytes
)

// A spill is the temporary file of a Sorter. The file has no name, so the kernel
// removes it when the process ends. A goroutine writes it.
type spill struct {
	file *directFile

	buf     []byte      // data that the writer does not have yet
	size    int64       // bytes, buf included
	free    chan []byte // empty buffers
	full    chan []byte // buffers to write
	written chan error  // the result of the writer
	failed  atomic.Bool // the writer has stopped writing
	flushed bool
	err     error // the result of the writer, once flushed
}

// A run is a part of the spill, or the blocks of a generation file, see file.go. It
// begins at a multiple of directLen.
type run struct {
	file    *directFile
	off     int64 // bytes
	n       int64 // records
	step    int64 // records from one sample to the next: a multiple of directRecords
	samples []format.Key

	spill   *spill   // nil for a generation file
	checker *checker // nil for a part of the spill

	mu      sync.Mutex
	punched int64 // bytes from the start that the file system has got back
}

// openSpill creates a spill in dir. The spill owns the buffers until it is
// flushed. There must be two or more, aligned for direct I/O.
func openSpill(dir string, buffers [][]byte) (*spill, error) {
	f, err := os.CreateTemp(dir, spillPattern)
	if err != nil {
		return nil, err
	}
	// The file may be missing: the sweep of another build may have removed it.
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
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

func spillError(err error) error { return fmt.Errorf("spill: %w", err) }

// write writes the full buffers. After an error it still returns buffers, so
// append does not block.
func (s *spill) write() {
	var err error
	off := int64(0)
	for b := range s.full {
		if err == nil {
			if _, err = s.file.WriteAt(b, off); err != nil {
				err = spillError(err)
				s.failed.Store(true)
			}
			off += int64(len(b))
		}
		s.free <- b[:0]
	}
	s.written <- err
}

// append appends data to the file, now or later. It reports false after a write
// has failed; flush then returns the error.
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

// flush waits until all data is written. append must not be called after flush.
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
	_ = s.flush() // append or an earlier flush returned the error
	return s.file.Close()
}

// sweepSpills removes the spills that processes left in dir when they were
// killed within openSpill. It ignores errors: a spill of another user is
// harmless.
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

// begin starts a run of at most n records. The run is the Sink of one sort.
func (s *spill) begin(n int) *run {
	return &run{file: s.file, off: s.size, step: stepFor(int64(n)), spill: s}
}

// stepFor returns the number of records from one sample to the next in a run of
// n records.
func stepFor(n int64) int64 {
	return min(max(minStep, (n/maxSamples+directRecords-1)/directRecords*directRecords), maxStep)
}

// end ends the run that begin started.
func (s *spill) end() {
	var zeros [directLen]byte
	s.append(zeros[:-s.size&(directLen-1)])
}

// Prepare does nothing.
func (r *run) Prepare([]format.Record) {}

// Reserve appends records to the run.
func (r *run) Reserve(records []format.Record) (func() error, error) {
	for i := (r.step - r.n%r.step) % r.step; i < int64(len(records)); i += r.step {
		r.samples = append(r.samples, records[i].Key())
	}
	r.n += int64(len(records))
	if !r.spill.append(format.Bytes(records)) {
		return nil, r.spill.flush()
	}
	return func() error { return nil }, nil
}

// read reads records lo to hi into dst. lo must be a multiple of directRecords.
// dst must be aligned to directLen and have room for a multiple of directRecords.
func (r *run) read(dst []format.Record, lo, hi int64) ([]format.Record, error) {
	whole := dst[:(hi-lo+directRecords-1)/directRecords*directRecords]
	n, err := r.file.ReadAt(format.Bytes(whole), r.off+lo*format.RecordLen)
	switch {
	case r.checker != nil:
		err = r.checker.check(r, whole, lo, n, err)
	case err != nil:
		err = spillError(err)
	}
	return dst[:hi-lo], err
}

// around returns the range of records, between two samples, in which keys reach
// k: keys before lo are below k, keys from hi on are not.
func (r *run) around(k format.Key) (lo, hi int64) {
	i, _ := slices.BinarySearchFunc(r.samples, k, format.Key.Compare)
	return max(0, int64(i-1)) * r.step, min(int64(i)*r.step, r.n)
}

// consumed releases the disk space of the first n records of a part of the spill, in
// steps of a sixteenth of the run or less. A file system that cannot do it needs more
// space and nothing else.
func (r *run) consumed(n int64) {
	if r.spill == nil {
		return
	}
	end := r.off + n*format.RecordLen
	r.mu.Lock()
	defer r.mu.Unlock()
	start := r.off + r.punched
	if end-start < min(maxPunch, r.n*format.RecordLen/16) && n < r.n || end <= start {
		return
	}
	r.punched = end - r.off
	_ = r.file.punch(start, end-start)
}
