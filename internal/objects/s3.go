package objects

import (
	"context"
	"errors"
	"io"
	"iter"

	"github.com/minio/minio-go/v7"
)

// An s3 is a Store of the objects of one bucket.
type s3 struct {
	bucket string
	client *minio.Core
}

var errTODO = errors.New("not implemented")

func newS3(bucket string, opts Options) (*s3, error) { return &s3{bucket: bucket}, nil }

func (s *s3) URL(key string) string { return scheme + s.bucket + "/" + key }

func (s *s3) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) { yield(Object{}, errTODO) }
}

func (s *s3) Open(ctx context.Context, key string) (*Reader, error) { return nil, errTODO }

func (s *s3) Put(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond) (string, error) {
	return "", errTODO
}

func (s *s3) Delete(ctx context.Context, keys ...string) error { return errTODO }
