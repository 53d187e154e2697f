// Package peer has what people would use instead of promostore: stores that
// are built of a promotions CSV and asked for promotions by id, and programs
// that sort it. They are set up as their documentation says for a table that
// is loaded at once and then only read.
//
// The stores keep an id as its 16 bytes, and price and date as the text of the
// CSV, so that nothing is lost. Those which want sorted input get it from
// ReadTable, whose time is theirs.
//
// It does not promise that a table is on the disk when Build returns, unless
// the peer's own way of loading sees to that.
package peer

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"runtime/debug"

	"promostore/format"
)

// A Peer is a library.
type Peer struct {
	Name   string
	Module string // its path, whose version is in the build
	Setup  string // settings, for people

	// engine is the version of a library in another language, of which Module is
	// the binding; nil if Module is all.
	engine func(context.Context) (string, error)

	// Build makes a file or a directory with the name path of a CSV.
	Build func(ctx context.Context, csv, path string) error

	// Open opens what Build made; nil if it cannot be asked for an id.
	Open func(path string) (Store, error)
}

// A Store is an open table. Safe for concurrent use.
type Store interface {
	// Reader is for one goroutine at a time. The caller closes it.
	Reader() (Reader, error)

	// Close must not be called before all readers are closed.
	Close() error
}

// A Reader looks promotions up.
type Reader interface {
	// Get appends price and date of an id to dst, as the CSV has them.
	Get(id *[format.KeyLen]byte, dst []byte) (value []byte, found bool, err error)

	Close() error
}

// All is every library that this program was built with.
func All() []Peer { return append([]Peer{Bbolt, Pebble, Badger}, cgoPeers...) }

// NeedsCgo is why Find does not find a peer.
const NeedsCgo = "it needs cgo: a C compiler, Debian's gcc and g++, and CGO_ENABLED=1"

// Find is the peer with this name; found is false if it needs cgo, and this
// program was built without.
func Find(name string) (p Peer, found bool) {
	for _, p := range All() {
		if p.Name == name {
			return p, true
		}
	}
	return Peer{}, false
}

// Describe is the version, as the library itself tells it, and the settings.
func (p *Peer) Describe(ctx context.Context) (string, error) {
	if p.engine == nil {
		return moduleVersion(p.Module) + ": " + p.Setup, nil
	}
	version, err := p.engine(ctx)
	if err != nil {
		return "", fmt.Errorf("version of %s: %w", p.Name, err)
	}
	return fmt.Sprintf("%s, through %s %s: %s", version, p.Module, moduleVersion(p.Module), p.Setup), nil
}

// moduleVersion is the version of a module in this program.
func moduleVersion(module string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if m.Path == module {
				return m.Version
			}
		}
	}
	return "version unknown"
}

// PutKey writes the 16 bytes of a key.
func PutKey(id *[format.KeyLen]byte, k format.Key) {
	binary.BigEndian.PutUint64(id[:], k.Hi)
	binary.BigEndian.PutUint64(id[8:], k.Lo)
}

// syncFile brings a file to the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync of %s: %w", path, err)
	}
	return nil
}
