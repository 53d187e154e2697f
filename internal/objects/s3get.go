package objects

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/minio/minio-go/v7"
)

func (s *s3) Open(ctx context.Context, key string) (*Reader, error) {
	if key == "" {
		return nil, fmt.Errorf("%s: key is empty", s.URL(""))
	}
	var info minio.ObjectInfo
	err := s.retry(ctx, key, func(*attempts) (err error) {
		info, err = s.stat(ctx, key)
		return err
	})
	if err != nil {
		return nil, err
	}
	if info.ETag == "" {
		return nil, fmt.Errorf("%s: the server sends no ETag", s.URL(key))
	}
	if info.Size < 0 {
		return nil, fmt.Errorf("%s: the server does not send the length; a proxy may remove Content-Length from answers to HEAD", s.URL(key))
	}
	object := Object{Key: key, Size: info.Size, ETag: info.ETag, Modified: info.LastModified}
	return &Reader{ctx: ctx, object: object, src: &s3Object{s, object}}, nil
}

// stat describes an object with one attempt.
func (s *s3) stat(ctx context.Context, key string) (minio.ObjectInfo, error) {
	info, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	return info, s.withBody(ctx, key, err)
}

// withBody returns the error of a GET in place of that of a HEAD, whose answer
// does not tell why it was refused: the bucket is missing, a token is expired.
func (s *s3) withBody(ctx context.Context, key string, err error) error {
	switch minio.ToErrorResponse(err).StatusCode {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound:
	default:
		return err
	}
	var opts minio.GetObjectOptions
	opts.Set("Range", "bytes=0-0")
	body, _, _, getErr := s.core.GetObject(ctx, s.bucket, key, opts)
	if getErr == nil {
		body.Close()
		return err
	}
	return getErr
}

// exists reports whether the bucket exists.
func (s *s3) exists(ctx context.Context) bool {
	ok, err := s.core.BucketExists(ctx, s.bucket)
	return ok && err == nil
}

// An s3Object reads ranges of one version of an object.
type s3Object struct {
	s      *s3
	object Object
}

func (o *s3Object) Close() error { return nil }

// readRange continues after the received bytes if a connection ends early.
func (o *s3Object) readRange(ctx context.Context, p []byte, off int64) error {
	const enough = 64 << 10 // bytes received that count as progress
	return o.s.retry(ctx, o.object.Key, func(a *attempts) error {
		n, err := o.receive(ctx, p, off)
		p, off = p[n:], off+int64(n)
		if n >= enough {
			a.progress()
		}
		return err
	})
}

// receive requests len(p) bytes at off, and returns how many it has received.
func (o *s3Object) receive(ctx context.Context, p []byte, off int64) (n int, err error) {
	if len(p) == 0 { // all of it came before the error
		return 0, nil
	}
	var opts minio.GetObjectOptions
	if err := opts.SetMatchETag(o.object.ETag); err != nil {
		return 0, err
	}
	if err := opts.SetRange(off, off+int64(len(p))-1); err != nil {
		return 0, err
	}
	body, info, header, err := o.s.core.GetObject(ctx, o.s.bucket, o.object.Key, opts)
	switch code := minio.ToErrorResponse(err); {
	case err == nil:
	case code.StatusCode == http.StatusPreconditionFailed, code.Code == minio.NoSuchKey,
		code.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		return 0, permanent{ErrChanged}
	default:
		return 0, err
	}
	defer body.Close()
	if info.ETag != o.object.ETag { // the server ignores If-Match
		return 0, permanent{ErrChanged}
	}
	if err := checkRange(header, off, len(p), o.object.Size); err != nil {
		return 0, err
	}
	for n < len(p) {
		m, err := body.Read(p[n:])
		n += m
		if n < len(p) && err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, fmt.Errorf("the answer ends at byte %d of %d: %w", n, len(p), err)
		}
	}
	return n, nil
}

// checkRange returns an error if an answer is not the range that was requested.
func checkRange(header http.Header, off int64, n int, size int64) error {
	want := fmt.Sprintf("bytes %d-%d/%d", off, off+int64(n)-1, size)
	got := header.Get("Content-Range")
	if got == "" && off == 0 && int64(n) == size { // the whole object
		got = want
	}
	if got != want {
		return fmt.Errorf("the answer has the range %q, want %q", got, want)
	}
	if length := header.Get("Content-Length"); length != "" && length != fmt.Sprint(n) {
		return fmt.Errorf("the answer has %s bytes, want %d", length, n)
	}
	return nil
}
