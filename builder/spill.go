package builder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// Spilling. When the arena is full, its records are sorted and written to a
// temporary file as a run: sorted, one record of each key, whatever the
// distribution of the keys. Samples of its keys stay in memory and are what
// the merge plans with. Runs are in the order of the input.

const (
	spillPattern = ".promobuild-*.spill"
	minStep      = 64   // records between two samples, at least
	maxSamples   = 2048 // of a run, about
	punchLen     = 8 << 20
)

// A spill is the temporary file of a build, which has no name, so that it goes
// with the process.
type spill struct {
	file *os.File
	size int64 // bytes
	runs []*run
}

// A run is a part of the spill.
type run struct {
	file    *os.File
	off     int64 // bytes
	n       int64 // records
	step    int64 // records between two samples
	samples []format.Key

	mu      sync.Mutex
	punched int64 // bytes at its start that were given back to the file system
}

func openSpill(dir string) (*spill, error) {
	f, err := os.CreateTemp(dir, spillPattern)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil && !errors.Is(err, os.ErrNotExist) { // swept by another build
		f.Close()
		return nil, err
	}
	return &spill{file: f}, nil
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
	r := &run{file: s.file, off: s.size, step: max(minStep, int64(n)/maxSamples)}
	s.runs = append(s.runs, r)
	return r
}

// end closes the run that was begun last.
func (s *spill) end() {
	s.size += s.runs[len(s.runs)-1].n * format.RecordLen
}

func (s *spill) close() error { return s.file.Close() }

func (r *run) prepare([]format.Record) {}

func (r *run) place(records []format.Record) (func() error, error) {
	off := r.off + r.n*format.RecordLen
	for i := (r.step - r.n%r.step) % r.step; i < int64(len(records)); i += r.step {
		r.samples = append(r.samples, records[i].Key())
	}
	r.n += int64(len(records))
	return func() error {
		_, err := r.file.WriteAt(format.Bytes(records), off)
		if err != nil {
			return fmt.Errorf("spill: %w", err)
		}
		return nil
	}, nil
}

// read fills dst with the records from lo on.
func (r *run) read(dst []format.Record, lo int64) error {
	if _, err := r.file.ReadAt(format.Bytes(dst), r.off+lo*format.RecordLen); err != nil {
		return fmt.Errorf("spill: %w", err)
	}
	return nil
}

// find is the number of records with keys below k. It looks between the two
// samples around k.
func (r *run) find(k format.Key) (int64, error) {
	i, j := 0, len(r.samples) // samples[:i] are below k, samples[j:] are not
	for i < j {
		if m := (i + j) / 2; r.samples[m].Less(k) {
			i = m + 1
		} else {
			j = m
		}
	}
	lo, hi := max(0, int64(i-1)*r.step), min(int64(i)*r.step, r.n)
	var rec [1]format.Record
	for lo < hi {
		m := (lo + hi) / 2
		if err := r.read(rec[:], m); err != nil {
			return 0, err
		}
		if rec[0].Key().Less(k) {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo, nil
}

// consumed gives the disk of the first n records back, now and then. That a
// file system cannot do it costs disk only.
func (r *run) consumed(n int64) {
	end := r.off + n*format.RecordLen
	r.mu.Lock()
	defer r.mu.Unlock()
	start := r.off + r.punched
	if end-start < punchLen && n < r.n || end <= start {
		return
	}
	r.punched = end - r.off
	_ = unix.Fallocate(int(r.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, start, end-start)
}
