package builder

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"

	"promostore/builder/extsort"
)

// Lanes. Decompression is serial, and so is a connection to object storage.
// Compressed files and objects are therefore read at the same time: the inputs are
// divided into lanes, usually one for each input. A worker takes the next chunk from
// the lane with the most bytes left that no other worker reads. So all lanes end at
// about the same time, which is the shortest schedule. The order in which chunks are
// read does not matter: the sorter restores it.
//
// While another worker waits for a lane, a worker that decompresses hands it the
// chunk and keeps the lane. So decompression never stops to parse, and its tables
// and its window stay in the cache of one processor.

// openLanes is the number of lanes, for each worker, that are open at a time. More
// lanes than workers divide the work evenly: with 17 files of the same size and
// 16 workers, no worker is left with a file of its own.
const openLanes = 2

// affinity is the number of bytes by which another lane must have more left before
// a worker leaves its lane, whose decompressor is in the cache of its processor.
const affinity = 8 << 20

// A lanes divides the inputs into chunks. Its next and passed methods are safe for
// concurrent use.
type lanes struct {
	sources []*source // one for each lane, in the order of the inputs
	maxOpen int
	totals  totals
	stop    func() bool // ends the connection to the context

	mu      sync.Mutex // guards the fields after it and the fields of a lane
	waiting []*taker   // for a chunk, for a lane that can be read, or for the end
	open    int        // lanes with an open input, or with a worker that may open one
	err     error      // of a source or the context; ends all
}

// A taker is a worker that takes chunks.
type taker struct {
	buf    []byte        // as long as the longest row; holds the data of the chunk
	chunk  chunk         // the last one
	handed bool          // chunk was handed over; guarded by lanes.mu
	wake   chan struct{} // has room for one
}

func newTaker(chunkLen int) *taker {
	return &taker{buf: make([]byte, chunkLen), wake: make(chan struct{}, 1)}
}

// totals counts bytes of all inputs.
type totals struct {
	read  atomic.Int64 // before decompression
	plain atomic.Int64 // decompressed
}

// A lane is the state of a source among others.
type lane struct {
	busy    bool // a worker reads
	open    bool // counted by lanes.open
	ended   bool // no chunk follows
	passing int  // chunks that were read and have not passed
	left    int64
}

// newLanes divides the inputs according to plan.
func newLanes(ctx context.Context, opts *Options, plan lanePlan) *lanes {
	l := &lanes{maxOpen: plan.open}
	for i := range plan.lanes {
		lo, hi := i*len(opts.Inputs)/plan.lanes, (i+1)*len(opts.Inputs)/plan.lanes
		s := &source{ctx: ctx, totals: &l.totals, index: i, inputs: opts.Inputs[:hi], input: lo, final: opts.RequireFinalNewline, decoders: plan.decoders, parts: plan.parts}
		s.lane.left = s.left()
		s.plain = !slices.ContainsFunc(s.inputs[lo:], func(in Input) bool { return in.path == "" || in.memory > 0 })
		l.sources = append(l.sources, s)
	}
	// A worker that fails with a chunk never passes it.
	l.stop = context.AfterFunc(ctx, func() { l.fail(context.Cause(ctx)) })
	return l
}

// fail makes all calls of next that have no lane return err.
func (l *lanes) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
	l.wakeAll()
}

// next takes the next chunk of any lane. It returns false after the last chunk.
// The caller must call passed for each chunk.
func (l *lanes) next(t *taker) (ok bool, err error) {
	if len(l.sources) == 1 && l.sources[0].plain {
		t.chunk, ok, err = l.sources[0].next(t.buf)
		return ok, err
	}
	for {
		s, err := l.acquire(t)
		if s == nil {
			return t.handed, err
		}
		for {
			t.chunk, ok, err = s.next(t.buf)
			if !ok || err != nil || !l.handOver(s, t) {
				break
			}
		}
		l.release(s, ok, err)
		if ok || err != nil {
			return ok, err
		}
	}
}

// handOver gives the chunk of t to a worker that waits, in exchange for its
// buffer. It returns false if none waits, or if s is not compressed: then the
// chunk is better parsed where it was read.
func (l *lanes) handOver(s *source, t *taker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.kind == "" || s.r == nil || len(l.waiting) == 0 || l.err != nil {
		return false
	}
	s.lane.passing++
	s.lane.left = s.left()
	to := l.waiting[len(l.waiting)-1]
	to.chunk, to.buf, t.buf, to.handed = t.chunk, t.buf, to.buf, true
	l.wakeOne()
	return true
}

// wakeOne makes the worker that has waited for the shortest time look again.
func (l *lanes) wakeOne() {
	if n := len(l.waiting) - 1; n >= 0 {
		l.waiting[n].wake <- struct{}{}
		l.waiting = l.waiting[:n]
	}
}

func (l *lanes) wakeAll() {
	for len(l.waiting) > 0 {
		l.wakeOne()
	}
}

// passed ends the use of a chunk, whose rows have been counted.
func (l *lanes) passed(c chunk) {
	if len(l.sources) == 1 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources[c.lane]
	if s.lane.passing--; s.lane.ended && s.lane.passing == 0 {
		l.wakeAll() // a last line may wait for it
	}
}

// acquire waits for a lane that can be read, see choose, or for a chunk that is
// handed over. It returns nil if t has such a chunk, all lanes have ended, or one
// has failed.
func (l *lanes) acquire(t *taker) (*source, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for t.handed = false; !t.handed; {
		best, ended := l.choose(t.chunk.lane)
		if ended || l.err != nil {
			return nil, l.err
		}
		if best != nil {
			best.lane.busy = true
			if !best.lane.open {
				best.lane.open = true
				l.open++
			}
			return best, nil
		}
		l.waiting = append(l.waiting, t)
		l.mu.Unlock()
		<-t.wake
		l.mu.Lock()
	}
	return nil, nil
}

// choose returns the lane to read after a chunk of lane last, or nil if there is
// none. ended means that all chunks have been read.
//
// The last line of an input without a line end is read after all earlier lanes
// have passed, because earlier rows show whether it is complete. The first lane
// that has not passed never waits, and inputs that wait are closed, so the wait
// ends.
func (l *lanes) choose(last int) (best *source, ended bool) {
	ended = true
	passed := true // all earlier lanes
	most := int64(0)
	for i, s := range l.sources {
		ln := &s.lane
		if !ln.ended {
			ended = false
			can := !ln.busy && (ln.open || l.open < l.maxOpen) && (passed || !s.ended)
			left := ln.left
			if i == last {
				left += affinity
			}
			if can && (best == nil || left > most) { // negative for a pipe, and for a file that grows
				best, most = s, left
			}
		}
		passed = passed && ln.ended && ln.passing == 0
	}
	return best, ended
}

// release returns a lane from which a chunk was read, or which has no more.
func (l *lanes) release(s *source, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	ln := &s.lane
	ln.busy, ln.left = false, s.left()
	if ok {
		ln.passing++
	} else {
		ln.ended = true
	}
	if s.r == nil {
		ln.open = false
		l.open--
	}
	if l.err == nil {
		l.err = err
	}
	if ln.ended || !ln.open || err != nil {
		l.wakeAll()
	} else {
		l.wakeOne()
	}
}

// close closes the open inputs.
func (l *lanes) close() error {
	l.stop()
	var errs []error
	for _, s := range l.sources {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}

// checkUnchanged returns a *ChangedError if an input file has changed since it
// was opened.
func (l *lanes) checkUnchanged() error {
	for _, s := range l.sources {
		if err := s.checkUnchanged(); err != nil {
			return err
		}
	}
	return nil
}

// unterminated returns the inputs that do not end with a line end, in order.
func (l *lanes) unterminated() (inputs []int) {
	for _, s := range l.sources {
		inputs = append(inputs, s.unterminated...)
	}
	return inputs
}

// A lanePlan divides inputs into lanes.
type lanePlan struct {
	lanes    int
	open     int         // lanes that are open at a time
	decoders int         // goroutines in each that decompress BGZF data
	parts    objectParts // of each open object
	memory   int64       // bytes that they need in addition to one lane without parts
}

// planLanes divides the inputs. There is one lane unless two inputs or more are
// compressed files or objects. Pipes may depend on each other, so they are read one
// after the other. Rejects are written in the order of the rows, which only one
// lane has.
func planLanes(opts *Options) lanePlan {
	plan := lanePlan{lanes: 1, open: 1, decoders: opts.Workers}
	slow, each, ordered := 0, int64(0), opts.Workers == 1 || opts.Rejects != nil
	for _, in := range opts.Inputs {
		if in.memory > 0 || in.object != nil {
			slow++
		}
		if in.object != nil {
			plan.parts = objectParts{minParts, partLen(opts.Memory)}
		}
		each = max(each, in.memory)
		ordered = ordered || in.path == "" && in.object == nil
	}
	if slow >= 2 && !ordered {
		each += plan.parts.memory()
		lanes := min(len(opts.Inputs), extsort.MaxLanes)
		if open := min(lanes, openLanes*opts.Workers, 1+int(opts.Memory/8/each)); open > 1 {
			plan.lanes, plan.open, plan.decoders = lanes, open, opts.Workers/open
			plan.memory = int64(open-1) * (each - plan.parts.memory())
			if plan.decoders > 1 {
				plan.memory += int64(open*plan.decoders) << 20
			}
		}
	}
	if plan.parts.num > 0 {
		plan.parts.num = max(minParts, maxParts/plan.open)
		plan.memory += int64(plan.open) * plan.parts.memory()
	}
	return plan
}
