// Package reader opens generation files, looks promotions up in them, and
// moves a server from one generation to the next.
package reader

import (
	"context"
	"errors"
	"time"

	"promostore/format"
	"promostore/format/generation"
)

// ErrFault says that the file was cut or could not be read underneath its
// mapping. The file should not be used any more.
var ErrFault = errors.New("the file changed underneath")

// Access is how a block gets from the file to a lookup.
type Access int

// The ways of access.
const (
	AccessAuto  Access = iota // mmap where the file fits into memory, else pread
	AccessMmap                // a mapping: fastest for a file that stays in memory
	AccessPread               // one read a lookup: for a file larger than memory
)

// A File is an open generation file. Safe for concurrent use.
type File struct{}

// Open opens the file with this path and checks everything but its blocks. Its
// name must be that of a generation (of one shard) and agree with its header.
func Open(path string, access Access) (*File, error) { panic("unwritten") }

// Header, Zones, ID and Access tell about the file. Immutable.
func (f *File) Header() *format.Header { panic("unwritten") }
func (f *File) Zones() []format.Zone   { panic("unwritten") }
func (f *File) ID() generation.ID      { panic("unwritten") }
func (f *File) Access() Access         { panic("unwritten") }
func (f *File) Index() *format.Index   { panic("unwritten") }

// Get copies the record of key out of the file. It does not allocate.
func (f *File) Get(key format.Key) (r format.Record, found bool, err error) { panic("unwritten") }

// Verify reads the whole file and checks every block, which also brings it
// into the page cache. progress may be nil.
func (f *File) Verify(ctx context.Context, progress func(done, size int64)) error { panic("unwritten") }

// Scan calls yield with every record in the order of the ids.
func (f *File) Scan(ctx context.Context, yield func([]format.Record) error) error { panic("unwritten") }

// Close is idempotent. Afterwards Get returns an error.
func (f *File) Close() error { panic("unwritten") }

// ParseID reads an id in any of the spellings that requests may have: with or
// without dashes, in braces, as urn:uuid:, in any case.
func ParseID(text []byte) (format.Key, bool) { panic("unwritten") }

// Store is the current generation of a directory.
type Store struct{}

// StoreOptions says how a Store opens generations.
type StoreOptions struct {
	Access    Access
	IndexOnly bool        // do not verify the blocks before a generation goes live
	Notify    func(Event) // hears what Poll did; may be nil; calls do not overlap
}

// An Event is something that happened to a generation.
type Event struct {
	Kind   EventKind
	ID     generation.ID
	Path   string
	Err    error         // why, for EventRefused and EventFault
	Open   time.Duration // opening and checking the index
	Verify time.Duration // verifying the blocks and warming
}

// EventKind is what happened.
type EventKind int

// The kinds of event.
const (
	EventLive    EventKind = iota // new requests see this generation from now on
	EventRefused                  // it is bad and will not be served until its file is replaced
	EventClosed                   // its last reader has left and its file is closed
	EventFault                    // it was live and its file changed underneath; it is not served any more
)

// NewStore serves the directory dir, which need not exist yet. Nothing is
// open before the first Poll.
func NewStore(dir string, opts StoreOptions) *Store { panic("unwritten") }

// Poll looks once for a generation that is newer than the current one, opens,
// verifies and warms it, and makes it the current one. Not concurrently.
func (s *Store) Poll(ctx context.Context) error { panic("unwritten") }

// Run polls at once, then every interval, when nudged, and when a file
// faulted, until ctx ends.
func (s *Store) Run(ctx context.Context, interval time.Duration, nudge <-chan struct{}) {
	panic("unwritten")
}

// Acquire pins the current generation, or returns nil if there is none. slot
// spreads the counting of readers: use a number that one processor tends to
// have to itself, such as that of a connection. Release with the same slot.
func (s *Store) Acquire(slot uint64) *File { panic("unwritten") }

// Release gives back what Acquire returned; not more than once.
func (s *Store) Release(f *File, slot uint64) { panic("unwritten") }

// Fault reports that a Get on f returned ErrFault: the generation is taken out
// of service and the newest good one before it takes over.
func (s *Store) Fault(f *File, err error) { panic("unwritten") }

// Close takes the current generation out of service and closes it once its
// last reader has left.
func (s *Store) Close() error { panic("unwritten") }
