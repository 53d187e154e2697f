package generation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"promostore/format"
	"promostore/internal/fsx"
)

// Why a generation is not served although its files may be good.
var (
	ErrSharded  = errors.New("one of several shards, which are not served yet")
	ErrMisnamed = errors.New("the header has another generation than the name")
)

// CheckShards refuses what is not one file.
func (g Generation) CheckShards() error {
	if g.Shards != 1 {
		return fmt.Errorf("%w: %d of %d files", ErrSharded, len(g.Files), g.Shards)
	}
	return nil
}

// CheckHeader refuses the header of the only file of g if it does not say what
// the name says.
func (g Generation) CheckHeader(h *format.Header) error {
	if ID(h.Generation) != g.ID || h.Shards != 1 {
		return fmt.Errorf("%w: %s, shard %d of %d", ErrMisnamed, ID(h.Generation), h.Shard, h.Shards)
	}
	return nil
}

// Header is the header of the only file of g, if all of it but the blocks is
// good. It reads 20 bytes for each block.
func (g Generation) Header() (format.Header, error) {
	if err := g.CheckShards(); err != nil {
		return format.Header{}, fmt.Errorf("generation %s: %w", g.ID, err)
	}
	h, err := readHeader(g.Files[0])
	if err == nil {
		err = g.CheckHeader(&h)
	}
	if err != nil {
		return format.Header{}, fmt.Errorf("%s: %w", g.Files[0], err)
	}
	return h, nil
}

func readHeader(path string) (format.Header, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return format.Header{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return format.Header{}, err
	}
	x, err := format.Open(f, info.Size())
	if err != nil {
		return format.Header{}, err
	}
	return x.Header, nil
}

// Served is what a server that starts now would serve, going by all but the
// blocks: the pinned generation if it is good, else the newest good one. A pin
// that cannot be read pins nothing. If there is none the error wraps ErrAbsent.
func Served(dir string) (Generation, format.Header, error) { return new(Headers).Served(dir) }

// Headers remembers the headers of files, so that who asks again and again does
// not read 20 bytes for each of their blocks each time. The zero value is ready.
// Safe for concurrent use.
type Headers struct {
	mu    sync.Mutex
	known map[string]knownHeader // by path
}

type knownHeader struct {
	info   os.FileInfo
	header format.Header
	err    error
}

// Served is as the function of that name, but reads a file only once, until it
// is another one or has changed its length or time.
func (x *Headers) Served(dir string) (Generation, format.Header, error) {
	list, err := List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Generation{}, format.Header{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	known := map[string]knownHeader{} // without those that are gone
	for _, g := range list {
		if k, ok := x.known[g.Files[0]]; ok {
			known[g.Files[0]] = k
		}
	}
	x.known = known
	pin, _ := ReadPin(dir)
	for _, g := range pin.Order(list) {
		if h, err := x.header(g); err == nil {
			return g, h, nil
		}
	}
	return Generation{}, format.Header{}, fmt.Errorf("%s: %w: none of %d is good", dir, ErrAbsent, len(list))
}

func (x *Headers) header(g Generation) (format.Header, error) {
	info, err := os.Stat(g.Files[0])
	if err != nil || g.Shards != 1 {
		return g.Header() // which says why not
	}
	k, ok := x.known[g.Files[0]]
	if !ok || !os.SameFile(k.info, info) || k.info.Size() != info.Size() || !k.info.ModTime().Equal(info.ModTime()) {
		k.info = info // from before it is read
		k.header, k.err = g.Header()
		x.known[g.Files[0]] = k
	}
	return k.header, k.err
}

// Order is the order in which list is to be tried by who serves none yet: what
// p pins, and then the newest first.
func (p Pin) Order(list []Generation) []Generation {
	var pinned, order []Generation
	for i := len(list) - 1; i >= 0; i-- {
		if p.Active && list[i].ID == p.ID {
			pinned = append(pinned, list[i])
		} else {
			order = append(order, list[i])
		}
	}
	return append(pinned, order...)
}

// Find is the generation of dir with this ID that is one file. The error wraps
// ErrAbsent if there is none, and ErrSharded if it is of several files.
func Find(dir string, id ID) (Generation, error) {
	list, err := List(dir)
	if err != nil {
		return Generation{}, err
	}
	err = fmt.Errorf("%s: %w: %s", dir, ErrAbsent, id)
	for _, g := range list {
		switch {
		case g.ID != id:
		case g.Shards == 1:
			return g, nil
		default:
			err = fmt.Errorf("generation %s: %w", id, ErrSharded)
		}
	}
	return Generation{}, err
}
