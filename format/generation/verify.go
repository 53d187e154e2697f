package generation

import (
	"context"
	"errors"
	"sync"

	"promostore/format"
)

// Verify reads all blocks of the files of s and checks them like
// format.Index.Verify, in that many goroutines. progress, which may be nil,
// receives the bytes of blocks read so far and their total; its calls do not
// overlap. The error joins a *FileError for each bad file, with its first defect.
func (s *Set) Verify(ctx context.Context, workers int, progress func(done, size int64)) error {
	v := &verification{set: s, progress: progress, defects: make([]defect, len(s.Files))}
	segments := int64(0)
	for _, f := range s.Open() {
		segments += f.Index.Segments()
		v.size += f.Index.Blocks() * format.BlockLen
	}
	var group sync.WaitGroup
	for range min(int64(workers), segments) {
		group.Go(func() { v.work(ctx) })
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	var errs []error
	for i, d := range v.defects {
		if d.err != nil {
			errs = append(errs, s.Files[i].defect(d.err))
		}
	}
	return errors.Join(errs...)
}

// A verification is one call of Verify.
type verification struct {
	set      *Set
	progress func(done, size int64)

	mu         sync.Mutex
	file       int      // of the next segment to read
	segment    int64    // next to read
	defects    []defect // by file
	done, size int64    // bytes of blocks
}

// A defect is the error of the first bad segment of a file; nil: none.
type defect struct {
	segment int64
	err     error
}

// work reads segments until none is left.
func (v *verification) work(ctx context.Context) {
	var p format.Segment
	for ctx.Err() == nil {
		file, segment, ok := v.next()
		if !ok {
			return
		}
		f := v.set.Files[file]
		records, err := p.Read(f.Index, f, segment)
		v.report(file, segment, len(records), err)
	}
}

// next returns the next segment. It skips the rest of a bad file.
func (v *verification) next() (file int, segment int64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for ; v.file < len(v.set.Files); v.file, v.segment = v.file+1, 0 {
		f := v.set.Files[v.file]
		if f.File != nil && v.defects[v.file].err == nil && v.segment < f.Index.Segments() {
			v.segment++
			return v.file, v.segment - 1, true
		}
	}
	return 0, 0, false
}

// report records the result of reading a segment.
func (v *verification) report(file int, segment int64, records int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d := &v.defects[file]; err != nil && (d.err == nil || segment < d.segment) {
		*d = defect{segment, err}
	}
	if v.progress != nil && err == nil {
		v.done += (int64(records) + format.RecordsPerBlock - 1) / format.RecordsPerBlock * format.BlockLen
		v.progress(v.done, v.size)
	}
}
