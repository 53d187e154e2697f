// Package tasks builds one generation on many machines. A plan divides the inputs
// into splits. A split task sorts one split into runs, one file for each shard. A
// merge task merges the runs of one shard. Publish makes the generation visible.
// The files are those of one builder.Build of all inputs, byte for byte.
//
// Tasks share only object storage or a directory, WORK:
//
//	WORK/ID/plan.json                          the plan of generation ID
//	WORK/ID/split-00012/ATTEMPT/*.pgen         the runs of an attempt, by shard
//	WORK/ID/split-00012/done.json              the attempt whose runs count
//	WORK/ID/merge-00003/done.json              the file of shard 3 is in OUT
//	WORK/ID/published.json                     the manifest is in OUT
//	WORK/sweep.clock                           for the time of the store, see Sweep
//
// A task may run twice, at the same time too, and be killed at any point. Each
// attempt writes files of its own, and done.json is written last and only if it
// is absent. Other files do not count; Sweep removes them.
//
// The package schedules nothing: an engine starts the tasks, each with the URL of
// the plan and an index.
package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"promostore/internal/objects"
)

// A folder is a place in a store for objects with a common prefix.
type folder struct {
	store  objects.Store
	prefix string // of all keys: empty, or ends with a slash
	path   string // of the directory; empty in object storage
}

// openFolder returns the folder of a URL, s3://bucket/prefix or a path.
func openFolder(url string, opts objects.Options) (folder, error) {
	store, key, err := objects.Parse(url, opts)
	if err != nil {
		return folder{}, permanent(err)
	}
	f := folder{store: store}
	if key = strings.Trim(key, "/"); key != "" {
		if !fs.ValidPath(key) { // servers resolve it, or do not
			return folder{}, permanent(fmt.Errorf("%s: an element is empty, . or .., or not valid UTF-8; use another prefix", url))
		}
		f.prefix = key + "/"
	}
	if !objects.IsURL(url) {
		f.path = store.URL(key)
	}
	return f, nil
}

// sub returns the folder of this name in f.
func (f folder) sub(name string) folder {
	s := folder{store: f.store, prefix: f.prefix + name + "/"}
	if f.path != "" {
		s.path = path.Join(f.path, name)
	}
	return s
}

// url returns the URL of an object, or of f if name is empty.
func (f folder) url(name string) string {
	return f.store.URL(strings.TrimSuffix(f.prefix+name, "/"))
}

// isLocal reports whether f is a directory.
func (f folder) isLocal() bool { return f.path != "" }

// readJSON reads an object of up to maxLen bytes and decodes it into v, strictly.
// The error wraps ErrFormat if the text is not valid.
func (f folder) readJSON(ctx context.Context, name string, maxLen int64, v any) (text []byte, err error) {
	text, err = objects.ReadAll(ctx, f.store, f.prefix+name, maxLen)
	if errors.Is(err, objects.ErrTooLong) {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err != nil {
		return nil, err
	}
	if err := decode(text, v); err != nil {
		return nil, fmt.Errorf("%s: %w", f.url(name), err)
	}
	return text, nil
}

// putJSON writes v as an object. The error wraps objects.ErrExists if there is one
// of this name.
func (f folder) putJSON(ctx context.Context, name string, v any) (text []byte, err error) {
	if text, err = json.Marshal(v); err != nil {
		return nil, err
	}
	_, err = f.store.Put(ctx, f.prefix+name, bytes.NewReader(text), int64(len(text)), objects.IfAbsent)
	return text, err
}

// ErrFormat reports a file of a plan that is not valid.
var ErrFormat = errors.New("not a valid file of a plan")

// formatVersion is the version of plan.json and of the done files.
//
//	1  the first one
const formatVersion = 1

// decode decodes one JSON value without unknown fields into v.
func decode(text []byte, v any) error {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(text, &head); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if head.Version > formatVersion {
		return fmt.Errorf("%w: version %d, above the newest known one, %d; use the same promobuild for all tasks", ErrFormat, head.Version, formatVersion)
	}
	if head.Version != formatVersion {
		return fmt.Errorf("%w: version %d, want %d", ErrFormat, head.Version, formatVersion)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

func formatError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrFormat, fmt.Sprintf(format, args...))
}

// Options configure a task.
type Options struct {
	Memory  int64  // bytes, see builder.Options
	Workers int    // goroutines; 0: one for each processor
	TempDir string // directory of the spill, and of files on their way from or to object storage; empty: os.TempDir
}
