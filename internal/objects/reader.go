package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// A Reader reads one version of an object. It is safe for concurrent use. Reads
// fail with ErrChanged if another version has replaced it, unless the store
// keeps the opened one.
type Reader struct {
	ctx    context.Context // of Open
	object Object
	src    ranger
}

// A ranger reads exactly len(p) bytes at off, or fails. It repeats what may
// succeed later.
type ranger interface {
	readRange(ctx context.Context, p []byte, off int64) error
	Close() error
}

// Size returns the number of bytes of the object.
func (r *Reader) Size() int64 { return r.object.Size }

// ETag returns the ETag of the object.
func (r *Reader) ETag() string { return r.object.ETag }

// Object describes the object as it was opened.
func (r *Reader) Object() Object { return r.object }

// ReadAt reads len(p) bytes at off with one request. It follows the rules of
// io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	n := int(min(int64(len(p)), max(0, r.object.Size-off)))
	if n > 0 {
		if err := r.src.readRange(r.ctx, p[:n], off); err != nil {
			return 0, err
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close releases the resources of the Reader. Streams must be closed before.
func (r *Reader) Close() error { return r.src.Close() }

// ErrTooLong reports an object that has more bytes than ReadAll may read.
var ErrTooLong = errors.New("object is too long")

// ReadAll returns the bytes of an object of up to maxLen bytes.
func ReadAll(ctx context.Context, s Store, key string, maxLen int64) ([]byte, error) {
	r, err := s.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if r.Size() > maxLen {
		return nil, fmt.Errorf("%s: %w: %d bytes, above the maximum of %d", s.URL(key), ErrTooLong, r.Size(), maxLen)
	}
	text := make([]byte, r.Size())
	_, err = r.ReadAt(text, 0)
	return text, err
}
