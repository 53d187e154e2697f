package generation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"promostore/format"
	"promostore/internal/fsx"
)

// A Checker checks generations like Header and Verify, and remembers the result
// for each file until the file changes, or as long as its Refusal holds. The zero
// value is ready for use. It is safe for concurrent use.
type Checker struct {
	now    func() time.Time // nil: time.Now
	mu     sync.Mutex
	known  map[string]result       // by path
	styles []format.TimestampStyle // of the last file, which the next one usually shares
}

// result holds the outcome of checking one file.
type result struct {
	file     fsx.Identity
	header   format.Header
	styles   []format.TimestampStyle
	err      error // of conditions 2 to 4
	refusal  Refusal
	verified bool // the blocks are good, too
}

// Header is like Generation.Header, but reads each file only once.
func (c *Checker) Header(g Generation) (format.Header, error) {
	results, err := c.check(g)
	if err != nil {
		return format.Header{}, err
	}
	headers := make([]*format.Header, len(results))
	for i := range results {
		headers[i] = &results[i].header
	}
	return Sum(headers...), nil
}

// Servable checks conditions 1 to 4 and 6 of a servable generation, but reads each
// file only once.
func (c *Checker) Servable(g Generation) error {
	_, err := c.check(g)
	return err
}

// Verify is like Generation.Verify, but reads each good file only once.
func (c *Checker) Verify(ctx context.Context, g Generation) error {
	results, err := c.check(g)
	if err != nil {
		return err
	}
	for shard, r := range results {
		if r.verified {
			continue
		}
		f, err := g.openShard(shard)
		if err != nil {
			return err
		}
		err = f.verify(ctx)
		f.Close()
		if err != nil {
			return err
		}
		r.verified = true
		c.remember(g.Path(shard), r)
	}
	return nil
}

// Trust records that the blocks of these files are good. It saves Verify from
// reading files that the caller has just published.
func (c *Checker) Trust(paths ...string) {
	for _, path := range paths {
		name, err := ParseName(filepath.Base(path))
		if err != nil {
			continue
		}
		g := Generation{ID: name.ID, Shards: name.Shards, Files: []string{path}}
		if r, _ := c.checkFile(g, name.Shard); r.err == nil {
			r.verified = true
			c.remember(path, r)
		}
	}
}

// check checks conditions 1 to 4 and 6 and returns the results for the files of
// g, by shard.
func (c *Checker) check(g Generation) ([]result, error) {
	if err := g.check(AllDigits); err != nil {
		return nil, err
	}
	results := make([]result, g.Shards)
	members := make([]member, g.Shards)
	anyNew := false
	for shard := range results {
		r, isNew := c.checkFile(g, shard)
		anyNew = anyNew || isNew
		if r.err != nil {
			return nil, r.err
		}
		results[shard], members[shard] = r, member{&r.header, r.styles}
	}
	if anyNew {
		c.forget()
	}
	return results, g.checkAgreement(members)
}

// checkFile checks conditions 2 to 4 for the file of a shard, and reports whether
// it read the file.
func (c *Checker) checkFile(g Generation, shard int) (r result, isNew bool) {
	path := g.Path(shard)
	info, err := os.Stat(path)
	if err != nil {
		return result{err: &FileError{path, err}}, false
	}
	id := fsx.IdentityOf(info) // before the file is read
	c.mu.Lock()
	r, found := c.known[path]
	c.mu.Unlock()
	now := time.Now
	if c.now != nil {
		now = c.now
	}
	if found && r.file.Equal(id) && (r.err == nil || r.refusal.Holds(id, now())) {
		return r, false
	}
	r = result{file: id, refusal: r.refusal}
	f, err := g.openShard(shard)
	if err == nil {
		r.header, r.styles = *f.Header(), f.Styles()
		f.Close()
	}
	r.err = err
	// An error of the file system may pass without a change of the file.
	if pathErr := (*fs.PathError)(nil); errors.As(r.err, &pathErr) {
		return r, true
	}
	if r.err != nil {
		r.refusal = r.refusal.Again(id, false, now())
	}
	c.remember(path, r)
	return r, true
}

func (c *Checker) remember(path string, r result) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]result{}
	}
	if slices.Equal(r.styles, c.styles) {
		r.styles = c.styles
	}
	c.styles = r.styles
	c.known[path] = r
}

// forget drops the results of files that are gone.
func (c *Checker) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path := range c.known {
		if _, err := os.Stat(path); err != nil {
			delete(c.known, path)
		}
	}
}

// Live is the function Live with conditions 1 to 4 and 6 of a servable generation,
// and reads each file only once. It also returns the header. A missing directory
// has no servable generation.
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
