package reader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"promostore/format/generation"
	"promostore/internal/fsx"
)

// Why a Store refuses a file whose content may be good.
var (
	ErrSharded  = generation.ErrSharded
	ErrMisnamed = generation.ErrMisnamed
)

// Store is the current generation of a directory: the pinned one, or the newest
// that is good. Safe for concurrent use.
type Store struct {
	dir  string
	opts StoreOptions

	live atomic.Pointer[tenure] // nil if there is none
	open sync.WaitGroup         // tenures that are not closed yet
	wake chan struct{}          // tells Run of a fault

	polling sync.Mutex // held by Poll and Close
	closed  bool       // guarded by polling
	unmet   string     // why what is pinned is not live, as it was said; guarded by polling

	notifying sync.Mutex // held while Notify is called

	mu       sync.Mutex         // guards what follows; held for moments
	refused  map[string]refusal // by path
	wish     wish
	newest   generation.Generation // of the directory, good or not
	closeErr error
}

// StoreOptions says how a Store opens generations.
type StoreOptions struct {
	Access    Access
	IndexOnly bool        // do not verify the blocks before a generation goes live
	Notify    func(Event) // hears what happens; may be nil; calls do not overlap
}

// An Event is something that happened to a generation.
type Event struct {
	Kind   EventKind
	ID     generation.ID
	Path   string
	Err    error         // why, for EventRefused, EventFault, EventUnreadable, EventPinUnreadable and EventPinUnmet
	Open   time.Duration // for EventLive: opening and checking the index
	Verify time.Duration // for EventLive: verifying the blocks and warming
	Access Access        // for EventLive: AccessMmap or AccessPread

	Pin generation.Pin // for EventPinned, EventUnpinned and EventPinUnmet
}

// EventKind is what happened.
type EventKind int

// The kinds of event.
const (
	EventLive       EventKind = iota // new requests see this generation from now on
	EventRefused                     // it is bad and will not be served until its file is replaced
	EventClosed                      // its last reader has left and its file is closed
	EventFault                       // it was live and its file changed underneath; it is not served any more
	EventUnreadable                  // Run could not list the directory, which is Path; it goes on trying

	EventPinned        // from now on this generation is to be live, whatever is newer
	EventUnpinned      // from now on it is the newest good one again
	EventPinUnreadable // there is a pin, which cannot be read: what is live stays
	EventPinUnmet      // what is pinned is not there or bad: what is live stays
)

// NewStore serves the directory dir, which need not exist yet. Nothing is
// open before the first Poll.
func NewStore(dir string, opts StoreOptions) *Store {
	return &Store{dir: dir, opts: opts, wake: make(chan struct{}, 1), refused: map[string]refusal{}}
}

// numSlots is into how many counters the readers of a generation are spread.
const numSlots = 64

// A tenure is the time in which a file is live, and after that the time until
// its last reader has left. A file has one tenure at most: once retired it
// never becomes live again.
//
// That the file is closed once and behind its last reader follows from the
// order of sync/atomic, in which all operations form one sequence:
//
//   - Acquire counts itself and then looks whether the tenure is still live.
//     If so, its count came before the tenure was taken out of Store.live, and
//     hence before every look at the counters in closeIfUnused. A reader thus
//     shows in its counter, from before the first look until it releases.
//   - Counters are read one by one, but since no reader can come any more, one
//     that was seen without readers stays so. Seeing all of them at zero means
//     that there is no reader, nor will there be one.
//   - Acquire that finds the tenure not live leaves again without having
//     touched the file. It may make a counter look used; it then looks itself.
//   - The last to leave either sees retired and looks at the counters, or
//     leaves before retired is set, and then retire's own look sees it gone.
//
// No two counters share a cache line, and neither do they with retired, which
// every Release reads. 128 bytes, since processors fetch lines in pairs.
type tenure struct {
	file    *File
	path    string
	store   *Store
	seen    fsx.Identity // of the file when it was last known to be good; Poll's
	faulted atomic.Bool
	retired atomic.Bool
	closing atomic.Bool
	_       [128]byte
	readers [numSlots]struct {
		n atomic.Int64
		_ [120]byte
	}
}

// Acquire pins the current generation, or returns nil if there is none. slot
// spreads the counting of readers: use a number that one processor tends to
// have to itself, such as that of a connection. Release with the same slot.
func (s *Store) Acquire(slot uint64) *File {
	for {
		t := s.live.Load()
		if t == nil {
			return nil
		}
		n := &t.readers[slot%numSlots].n
		n.Add(1)
		if s.live.Load() == t {
			return t.file
		}
		n.Add(-1)
		t.closeIfUnused()
	}
}

// Release gives back what Acquire returned; not more than once.
func (s *Store) Release(f *File, slot uint64) {
	t := f.tenure
	if t.readers[slot%numSlots].n.Add(-1) < 0 {
		panic(fmt.Sprintf("BUG: slot %d releases generation %s more often than it acquired it", slot, f.ID()))
	}
	if t.retired.Load() {
		t.closeIfUnused()
	}
}

// retire is called once, by whoever took t out of Store.live.
func (t *tenure) retire() {
	t.retired.Store(true)
	t.closeIfUnused()
}

// closeIfUnused closes the file of a tenure that is not live any more, if
// nobody reads it. Unmapping a large file takes long, so a goroutine does it.
func (t *tenure) closeIfUnused() {
	for i := range t.readers {
		if t.readers[i].n.Load() != 0 {
			return
		}
	}
	if !t.closing.CompareAndSwap(false, true) {
		return
	}
	go func() {
		defer t.store.open.Done()
		err := t.file.Close()
		t.store.mu.Lock()
		t.store.closeErr = errors.Join(t.store.closeErr, err)
		t.store.mu.Unlock()
		t.store.notify(Event{Kind: EventClosed, ID: t.file.ID(), Path: t.path, Err: err})
	}()
}

// goLive makes f what Acquire returns, and announces it with e.
func (s *Store) goLive(f *File, e Event) {
	f.tenure = &tenure{file: f, path: e.Path, store: s, seen: f.opened}
	s.open.Add(1)
	s.mu.Lock()
	delete(s.refused, e.Path)
	s.mu.Unlock()
	old := s.live.Swap(f.tenure)
	s.notify(e)
	if old != nil {
		old.retire()
	}
}

// Fault reports that a Get on f, which the caller has acquired, returned
// ErrFault: the generation is taken out of service and the newest good one
// before it takes over. The file is tried again if it is not as it was when it
// was opened.
func (s *Store) Fault(f *File, err error) {
	t := f.tenure
	// Only one of many calls goes on, and it does all there is to do.
	if !t.faulted.CompareAndSwap(false, true) {
		return
	}
	s.refuse(t.path, refusal{identity: f.opened, reason: err.Error()})
	// Close, or a newer generation, may have taken it out and retired it.
	wasLive := s.live.CompareAndSwap(t, nil)
	if wasLive {
		t.retire()
	}
	s.notify(Event{Kind: EventFault, ID: f.ID(), Path: t.path, Err: err})
	if wasLive {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Store) notify(e Event) {
	if s.opts.Notify == nil {
		return
	}
	s.notifying.Lock()
	defer s.notifying.Unlock()
	s.opts.Notify(e)
}

// Close takes the current generation out of service, and waits until every
// reader has left and every file is closed. No Poll works afterwards.
func (s *Store) Close() error {
	s.polling.Lock()
	s.closed = true
	if t := s.live.Swap(nil); t != nil {
		t.retire()
	}
	s.polling.Unlock()
	s.open.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closeErr
}

// openOnly opens the only file of g.
func openOnly(g generation.Generation, access Access) (*File, error) {
	if err := g.CheckShards(); err != nil {
		return nil, err
	}
	f, err := Open(g.Files[0], access)
	if err != nil {
		return nil, err
	}
	if err := g.CheckHeader(f.Header()); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", g.Files[0], err), f.Close())
	}
	return f, nil
}

// VerifyGeneration reads all of g and checks it as a Store does. progress is as
// that of Verify.
func VerifyGeneration(ctx context.Context, g generation.Generation, progress func(done, size int64)) error {
	f, err := openOnly(g, AccessPread)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Verify(ctx, progress); err != nil {
		return fmt.Errorf("%s: %w", g.Files[0], err)
	}
	return nil
}

// openGeneration opens, verifies and warms the only file of g. progress is as
// that of Verify.
func (s *Store) openGeneration(ctx context.Context, g generation.Generation, progress func(done, size int64)) (f *File, e Event, err error) {
	e = Event{Kind: EventLive, ID: g.ID, Path: g.Files[0]}
	start := time.Now()
	f, err = openOnly(g, s.opts.Access)
	e.Open = time.Since(start)
	if err != nil {
		return nil, e, err
	}
	if !s.opts.IndexOnly {
		start = time.Now()
		workers := runtime.GOMAXPROCS(0)
		if s.live.Load() != nil {
			workers = 1 // the others are for who is being served
		}
		if err = f.verify(ctx, workers, progress); err == nil {
			err = f.warm(ctx)
		}
		e.Verify = time.Since(start)
	}
	if err != nil {
		return nil, e, errors.Join(fmt.Errorf("%s: %w", e.Path, err), f.Close())
	}
	e.Access = f.Access()
	return f, e, nil
}

// list is the generations of the directory, which need not exist.
func (s *Store) list() ([]generation.Generation, error) {
	list, err := generation.List(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return list, err
}
