package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"promostore/format"
	"promostore/internal/fsx"
)

// A Checker checks generations like Header and Verify, and remembers the result
// for each file until the file changes, or as long as its Refusal holds. The zero
// value is ready for use. It is safe for concurrent use.
type Checker struct {
	now   func() time.Time // nil: time.Now
	mu    sync.Mutex
	known map[string]result // by path
}

// result holds the outcome of checking one file.
type result struct {
	file     fsx.Identity
	header   format.Header
	err      error // of the index
	refusal  Refusal
	verified bool // the blocks are good, too
}

// Header is like Generation.Header, but reads a file only once.
func (c *Checker) Header(g Generation) (format.Header, error) {
	r, _ := c.check(g)
	return r.header, r.err
}

// Servable checks conditions 1 to 4 of a servable generation, but reads a file only
// once.
func (c *Checker) Servable(g Generation) error {
	_, err := c.Header(g)
	return err
}

// Verify is like Generation.Verify, but reads a good file only once.
func (c *Checker) Verify(ctx context.Context, g Generation) error {
	r, found := c.check(g)
	if r.err != nil || r.verified {
		return r.err
	}
	if err := g.Verify(ctx); err != nil {
		return err
	}
	if found {
		r.verified = true
		c.remember(g.Files[0], r)
	}
	return nil
}

// Trust records that the blocks of the file at path are good. It saves Verify
// from reading a file that the caller has just published.
func (c *Checker) Trust(path string) {
	name, err := ParseName(filepath.Base(path))
	if err != nil {
		return
	}
	if r, found := c.check(Generation{ID: name.ID, Shards: name.Shards, Files: []string{path}}); found && r.err == nil {
		r.verified = true
		c.remember(path, r)
	}
}

// check returns the result for g, and whether it belongs to a file that c can
// remember.
func (c *Checker) check(g Generation) (r result, found bool) {
	if err := g.checkFiles(); err != nil {
		return result{err: err}, false
	}
	path := g.Files[0]
	info, err := os.Stat(path)
	if err != nil {
		return result{err: err}, false
	}
	id := fsx.IdentityOf(info) // before the file is read
	c.mu.Lock()
	r, found = c.known[path]
	c.mu.Unlock()
	now := time.Now
	if c.now != nil {
		now = c.now
	}
	if found && r.file.Equal(id) && (r.err == nil || r.refusal.Holds(id, now())) {
		return r, true
	}
	r = result{file: id, refusal: r.refusal}
	r.header, r.err = g.Header()
	// An error of the file system may pass without a change of the file.
	if pathErr := (*fs.PathError)(nil); errors.As(r.err, &pathErr) {
		return r, false
	}
	if r.err != nil {
		r.refusal = r.refusal.Again(id, false, now())
	}
	c.remember(path, r)
	return r, true
}

// remember stores r and drops the results of files that are gone.
func (c *Checker) remember(path string, r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]result{}
	}
	for path := range c.known {
		if _, err := os.Stat(path); err != nil {
			delete(c.known, path)
		}
	}
	c.known[path] = r
}

// Live is the function Live with conditions 1 to 4 of a servable generation, and
// reads a file only once. It also returns the header. A missing directory has no
// servable generation.
func (c *Checker) Live(dir string) (Generation, format.Header, error) {
	var h format.Header
	g, err := Live(context.Background(), dir, func(g Generation) (err error) {
		h, err = c.Header(g)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoneServable) {
		err = fmt.Errorf("%s: %w", dir, ErrNoneServable)
	}
	if err != nil {
		return Generation{}, format.Header{}, err
	}
	return g, h, nil
}
