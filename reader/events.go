package reader

import (
	"sync"
	"time"

	"promostore/format/generation"
)

// An Event reports that something happened to a generation, or to the pin.
type Event struct {
	Kind EventKind
	ID   generation.ID
	Path string // of a file: the bad one, or else the first
	Err  error  // the reason, for the kinds that have one

	// For EventLive and EventVerified.
	Open     time.Duration  // opening the files and checking their indexes
	Verify   time.Duration  // verifying and warming the blocks
	Access   Access         // AccessMmap or AccessPread
	Records  uint64         // of the owned shards
	Bytes    int64          // length of their files
	Previous *generation.ID // the generation that was live before, demoted or not; nil: none

	Pin generation.Pin // for EventPinned, EventUnpinned, EventReleased and EventPinUnmet
}

// EventKind is the kind of an Event.
type EventKind int

// The kinds of events.
const (
	EventLive          EventKind = iota // the generation became live: new requests see it
	EventRefused                        // the generation is bad; another kind of error is reported again
	EventClosed                         // the files of a former live generation were closed, after its last request
	EventFault                          // a file of the live generation changed; the generation is no longer live
	EventFuture                         // the generation is from the future; all others are preferred to it
	EventUnreadable                     // a lookup in the live generation failed with ErrUnreadable; it remains live
	EventReadable                       // the reads that failed succeed again
	EventChanged                        // a lookup in the live generation failed with ErrChanged; it remains live and is verified again
	EventUnchanged                      // the files of the live generation are good according to a poll after EventChanged
	EventDeleted                        // the directory no longer has all files of the live generation, which remains live
	EventRestored                       // the directory has the files again after EventDeleted
	EventDirUnreadable                  // Run cannot list the directory, which is Path; it keeps trying
	EventDirReadable                    // Run can list the directory again
	EventNone                           // Run finds no generation to make live in the directory, which is Path; Err is that of generation.Status.Problem

	EventPinned        // the generation is pinned: it is to be live even if a newer one exists
	EventUnpinned      // the pin was removed: the newest servable generation is to be live
	EventReleased      // the generation released the pin, which was to hold until a newer one: it is live
	EventPinUnreadable // the pin cannot be read; the live generation remains live
	EventVerified      // a generation that the pin holds back, the newest good one, is verified: it becomes live at once when the pin allows it
	EventPinUnmet      // the pinned generation is missing or bad; the live generation remains live
)

// A notifier delivers events to the Notify function of a Store.
//
// Its mutex is held during a call, so calls do not overlap. Store.mu must not be
// held, because Notify may call Status.
type notifier struct {
	mu sync.Mutex
	f  func(Event) // may be nil
}

// notify delivers e and waits until it has been handled.
func (n *notifier) notify(e Event) {
	if n.f == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.f(e)
}
