package history

import (
	"os"
	"sync/atomic"

	"promostore/internal/fsx"
)

// A Cache holds the headers and summaries that the last call of Generations read, so
// that the next one reads only the files that have changed. It does not hold errors.
// The zero value is ready for use. It is safe for concurrent use.
type Cache struct {
	files atomic.Pointer[map[string]content] // by path; the map does not change
}

// A content is a header or a summary.
type content struct {
	file  fsx.Identity
	value any
}

// A cacheRun is the use of a Cache by one call.
type cacheRun struct{ old, used map[string]content }

// begin returns a run, whose results the caller passes to end. c may be nil.
func (c *Cache) begin() cacheRun {
	r := cacheRun{used: map[string]content{}}
	if c != nil {
		if files := c.files.Load(); files != nil {
			r.old = *files
		}
	}
	return r
}

// end keeps the contents that r used, and drops the others.
func (c *Cache) end(r cacheRun) {
	if c != nil {
		c.files.Store(&r.used)
	}
}

// cachedRead returns the content of the file at path, and calls read only if the
// file has changed.
func cachedRead[T any](r cacheRun, path string, read func() (T, error)) (value T, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return value, err
	}
	file := fsx.IdentityOf(info) // before the file is read
	known := r.old[path]
	value, ok := known.value.(T)
	if !ok || !known.file.Equal(file) {
		if value, err = read(); err != nil {
			return value, err
		}
	}
	r.used[path] = content{file, value}
	return value, nil
}
