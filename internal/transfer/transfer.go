// Package transfer copies generations and the pin between a directory and object
// storage.
//
// The objects of a Location have the names of the files of a directory:
//
//	promotions-ID-00000-of-00016.pgen   the files of a generation
//	promotions-ID.json                  its manifest, see Manifest
//	promotions-ID.summary.json          its summary, if there is one
//	promotions.pin                      the pin
//
// The manifest makes a generation visible. Push writes it after all files, and
// only if it is absent. It does not list the summary, which nothing waits for. Pull
// copies the files that it lists, compares their checksums, verifies the generation,
// and only then gives the files their names.
//
// Both can be killed at any point: the generations that were visible remain so,
// and the next call continues. Push sends no file again that is there with the
// same checksum; Pull continues in the middle of a file.
//
// Several processes may push to one Location and prune it at the same time. Push
// lists the objects after it has written the manifest, and sends again what another
// process has deleted. Two generations of the same ID with other content may mix,
// but Pull refuses files that do not fit their manifest.
package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"promostore/format/generation"
	"promostore/internal/objects"
)

// Files are copied concurrently, each in parts; together they take up to
// filesAtOnce * partsAtOnce * partLen bytes of memory, 64 MiB.
const (
	filesAtOnce = 4
	partsAtOnce = 4
	partLen     = 4 << 20
)

// A Location holds generations in object storage.
type Location struct {
	store  objects.Store
	prefix string // of all keys: empty, or ends with a slash
}

// Parse returns the Location of s3://bucket/prefix or a path.
func Parse(url string, opts objects.Options) (Location, error) {
	store, key, err := objects.Parse(url, opts)
	if err != nil {
		return Location{}, err
	}
	return New(store, key), nil
}

// New returns the Location of the objects of store below prefix.
func New(store objects.Store, prefix string) Location {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return Location{store, prefix}
}

// IsDir reports whether l is the directory dir, by whatever path.
func (l Location) IsDir(dir string) bool {
	if _, ok := l.store.(objects.FileStore); !ok {
		return false
	}
	own, err := os.Stat(l.String())
	if err != nil {
		return false
	}
	other, err := os.Stat(dir)
	return err == nil && os.SameFile(own, other)
}

// String returns the URL of l.
func (l Location) String() string { return l.store.URL(strings.TrimSuffix(l.prefix, "/")) }

func (l Location) url(name string) string { return l.store.URL(l.prefix + name) }

func (l Location) open(ctx context.Context, name string) (*objects.Reader, error) {
	return l.store.Open(ctx, l.prefix+name)
}

// readSmall reads an object of up to maxLen bytes.
func (l Location) readSmall(ctx context.Context, name string, maxLen int64) ([]byte, error) {
	return objects.ReadAll(ctx, l.store, l.prefix+name, maxLen)
}

// contents holds the names at a Location.
type contents struct {
	manifests []generation.ID          // ascending
	files     map[generation.ID][]file // also without a manifest
	sizes     map[string]int64         // of the files, by name
}

// A file is an object with the name of a file of a generation.
type file struct {
	generation.Name
	size int64
}

func (l Location) list(ctx context.Context) (contents, error) {
	c := contents{files: map[generation.ID][]file{}, sizes: map[string]int64{}}
	for object, err := range l.store.List(ctx, l.prefix+"promotions-") {
		if err != nil {
			return contents{}, err
		}
		name := strings.TrimPrefix(object.Key, l.prefix)
		if id, ok := parseManifestName(name); ok {
			c.manifests = append(c.manifests, id)
		} else if n, err := generation.ParseName(name); err == nil {
			c.files[n.ID] = append(c.files[n.ID], file{n, object.Size})
			c.sizes[name] = object.Size
		}
	}
	return c, nil
}

// has reports whether c has f in its size.
func (c contents) has(f File) bool {
	size, found := c.sizes[f.Name]
	return found && size == f.Size
}

// missing returns those files that c does not have.
func (c contents) missing(files []File) []File {
	return slices.DeleteFunc(slices.Clone(files), c.has)
}

// Checksum returns the SHA-256 of the bytes of r in lower-case hex digits, and their
// number. Canceling ctx ends it between two reads.
func Checksum(ctx context.Context, r io.Reader) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, &cancelReader{ctx, r})
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// A cancelReader fails after its context is canceled.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (r *cancelReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// Progress receives the progress of a transfer. Its functions may be nil; calls do
// not overlap.
type Progress struct {
	// Begin is called before files of a generation are copied, with their bytes.
	Begin func(id generation.ID, total int64)

	// Update is called after each part of them.
	Update func(done, total int64)
}

// meter begins the transfer of files of a generation.
func (p Progress) meter(id generation.ID, files []File) *meter {
	m := &meter{total: sizeOf(files), report: p.Update}
	if p.Begin != nil {
		p.Begin(id, m.total)
	}
	return m
}

// A meter counts bytes of several goroutines.
type meter struct {
	mu          sync.Mutex
	done, total int64                   // bytes that need no transfer included
	moved       int64                   // bytes of transfers
	report      func(done, total int64) // may be nil
}

// skip counts bytes that need no transfer. If they do, n is negative.
func (m *meter) skip(n int64) { m.add(n, 0) }

// Write counts the bytes of p.
func (m *meter) Write(p []byte) (int, error) {
	m.add(int64(len(p)), int64(len(p)))
	return len(p), nil
}

func (m *meter) add(done, moved int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += done
	m.moved += moved
	if m.report != nil {
		m.report(min(m.done, m.total), m.total) // parts that are sent again count twice
	}
}

// A meteredReaderAt adds the bytes that it reads to a meter.
type meteredReaderAt struct {
	io.ReaderAt
	meter *meter
}

func (r meteredReaderAt) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	r.meter.add(int64(n), int64(n))
	return n, err
}
