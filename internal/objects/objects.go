// Package objects reads and writes immutable objects in directories and in
// buckets of S3. A key names an object in its store: the path below a directory,
// or the key in a bucket. Elements of a key are separated by slashes.
//
// An object is replaced as a whole or not at all. A Reader returns bytes of the
// object that it opened, or ErrChanged, but never bytes of two versions.
//
// The package does not lock objects. Of two writers without a condition the last
// one wins; a Put with IfAbsent succeeds for one writer only.
package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Errors of a Store begin with the URL of the object or the bucket and wrap one of
// these, if it applies. They contain no credentials. ErrDenied comes with the
// places that were searched for credentials.
var (
	ErrNotFound = errors.New("not found") // no such object, or no such bucket
	ErrExists   = errors.New("object exists already")
	ErrChanged  = errors.New("object changed after it was opened")
	ErrDenied   = errors.New("access denied")
)

// An Object describes one object of a Store.
type Object struct {
	Key      string
	Size     int64  // bytes
	ETag     string // identifies the content; without quotes
	Modified time.Time
}

// A Cond is a condition of Put.
type Cond int

const (
	Always   Cond = iota // replace an object of the same key
	IfAbsent             // fail with ErrExists if the key has an object
)

// A Store holds objects by key. Its methods are safe for concurrent use.
type Store interface {
	// List returns the objects whose keys begin with prefix, in ascending order
	// of the bytes of their keys. It includes those below further slashes. A
	// directory that does not exist has no objects. An error ends the sequence;
	// a bucket has one after 1,000,000 objects.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]

	// Dirs returns the names of the directories in dir, which is empty or ends with
	// a slash: the next elements of keys that have a slash after them. They are in
	// ascending order. Directories without objects may be among them.
	Dirs(ctx context.Context, dir string) ([]string, error)

	// Open opens an object for reading. The context applies to the ReadAt calls
	// of the Reader too.
	Open(ctx context.Context, key string) (*Reader, error)

	// Put writes size bytes of r as an object and returns its ETag. Others see
	// the whole object or nothing of it. The error is ErrExists if the condition
	// does not hold. Put reads several parts of r at the same time and holds none
	// of them in memory.
	Put(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond) (etag string, err error)

	// Delete deletes objects, at the same time. A missing object is no error.
	Delete(ctx context.Context, keys ...string) error

	// URL returns the place of a key for messages, without credentials. An empty
	// key stands for the store.
	URL(key string) string
}

// A FileStore is a Store whose objects are files, such as the Store of a path. A
// program that writes a file there need not copy it: it writes the file of
// TempPath and makes it an object with Take.
type FileStore interface {
	Store

	// TempPath returns the path of a file that does not exist, beside the object
	// of a key. List passes over the file. If the caller does not remove it, a Put or a
	// TempPath in the same directory does so after a day.
	TempPath(key string) (string, error)

	// Take gives a durable file of TempPath the name of the object and returns
	// its ETag. The error is ErrExists if the condition does not hold. With
	// IfAbsent, the caller removes the file afterwards.
	Take(temp, key string, cond Cond) (etag string, err error)
}

// Options select the endpoint of s3:// URLs.
type Options struct {
	Endpoint string // URL of a server that speaks S3; empty: AWS
	Region   string // empty: found out from AWS, or us-east-1 of another endpoint

	shared *shared // nil: Parse returns another Store each time
}

// Shared returns options with which Parse returns the same Store for all keys of a
// bucket. The region and the credentials are then found out once.
func (o Options) Shared() Options {
	o.shared = &shared{buckets: map[string]*s3{}}
	return o
}

// shared holds the stores of Options.
type shared struct {
	mu      sync.Mutex
	buckets map[string]*s3
}

func (o Options) bucket(name string) (*s3, error) {
	if o.shared == nil {
		return newS3(name, o)
	}
	o.shared.mu.Lock()
	defer o.shared.mu.Unlock()
	if s, found := o.shared.buckets[name]; found {
		return s, nil
	}
	s, err := newS3(name, o)
	if err == nil {
		o.shared.buckets[name] = s
	}
	return s, err
}

const scheme = "s3://"

// IsURL reports whether Parse takes name for the URL of an object storage and
// not for a path.
func IsURL(name string) bool { return strings.HasPrefix(name, scheme) }

// Parse returns the store and the key that name means: a bucket and a key for
// s3://bucket/key, and a directory for a path. The key may be a prefix or a
// pattern; Parse keeps its characters. It is empty for a bucket alone, and for
// the paths "/" and ".". Parse does not access the store.
func Parse(name string, opts Options) (s Store, key string, err error) {
	if rest, ok := strings.CutPrefix(name, scheme); ok {
		bucket, key, _ := strings.Cut(rest, "/")
		s, err := opts.bucket(bucket)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		}
		return s, key, nil
	}
	if before, _, ok := strings.Cut(name, "://"); ok && !strings.Contains(before, "/") {
		return nil, "", fmt.Errorf("%s: unknown scheme; use s3://BUCKET/PREFIX or a path", name)
	}
	if name == "" {
		return nil, "", errors.New("path is empty")
	}
	root, key := splitPath(filepath.Clean(name))
	return newDir(root), key, nil
}
