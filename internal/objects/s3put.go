package objects

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"golang.org/x/sync/errgroup"
)

// An object of more than one part is uploaded in parts, of which S3 allows
// 10,000.
const (
	maxParts    = 10_000
	partUploads = 4 // at the same time
	maxUploads  = 3 // of an object, after conflicts
)

// conflictCode answers a conditional write during another write of the object. S3
// accepts the same PUT again later, but not the end of the same upload in parts.
const conflictCode = "ConditionalRequestConflict"

var errConflict = errors.New("another write of the object is in progress")

var uploadPartLen int64 = 16 << 20 // variable for tests; at least 5 MiB

// The metadata of each object have the name of the Put that wrote it. It tells
// an object that is there because of a lost answer from that of another writer.
const putID = "Promostore-Put"

func (s *s3) Put(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond) (string, error) {
	if key == "" {
		return "", fmt.Errorf("%s: key is empty", s.URL(""))
	}
	opts := minio.PutObjectOptions{
		UserMetadata: map[string]string{putID: rand.Text()},
		ContentType:  "application/octet-stream",

		DisableContentSha256: true, // of chunks; send computes that of the whole
	}
	write := s.putWhole
	if size > uploadPartLen {
		write = s.putParts
	}
	etag, err := write(ctx, key, r, size, cond, opts)
	if err != nil && ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	return etag, err
}

// writeOnce repeats a request that makes an object visible. An upload in parts is
// lost after a conflict: the error is then errConflict.
func (s *s3) writeOnce(ctx context.Context, key string, opts minio.PutObjectOptions, write func() (minio.UploadInfo, error)) (etag string, err error) {
	err = s.retry(ctx, key, func(*attempts) error {
		info, err := write()
		etag = info.ETag
		e := minio.ToErrorResponse(err)
		gone, conflict := e.Code == minio.NoSuchUpload, errors.Is(err, errConflict)
		if err == nil || e.StatusCode != http.StatusPreconditionFailed && !gone && !conflict {
			return err
		}
		there, statErr := s.stat(ctx, key)
		switch code := minio.ToErrorResponse(statErr).Code; {
		case statErr == nil && there.UserMetadata[putID] == opts.UserMetadata[putID]:
			etag = there.ETag
			return nil // by an attempt whose answer was lost
		case statErr != nil && code != minio.NoSuchKey:
			return statErr // the next attempt asks again
		case gone, conflict && statErr != nil:
			return permanent{err}
		}
		return permanent{ErrExists}
	})
	return etag, err
}

func condition(opts minio.PutObjectOptions, cond Cond) minio.PutObjectOptions {
	if cond == IfAbsent {
		opts.SetMatchETagExcept("*")
	}
	return opts
}

func (s *s3) putWhole(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond, opts minio.PutObjectOptions) (string, error) {
	opts = condition(opts, cond)
	return s.writeOnce(ctx, key, opts, func() (info minio.UploadInfo, err error) {
		err = send(ctx, r, 0, size, func(ctx context.Context, body io.Reader, sum string) (err error) {
			info, err = s.core.PutObject(ctx, s.bucket, key, body, size, "", sum, opts)
			return err
		})
		return info, err
	})
}

// putParts begins again after a conflict.
func (s *s3) putParts(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond, opts minio.PutObjectOptions) (etag string, err error) {
	for range maxUploads {
		etag, err = s.putPartsOnce(ctx, key, r, size, cond, opts)
		if !errors.Is(err, errConflict) {
			break
		}
	}
	return etag, err
}

func (s *s3) putPartsOnce(ctx context.Context, key string, r io.ReaderAt, size int64, cond Cond, opts minio.PutObjectOptions) (etag string, err error) {
	var upload string
	err = s.retry(ctx, key, func(*attempts) (err error) {
		upload, err = s.core.NewMultipartUpload(ctx, s.bucket, key, opts)
		return err
	})
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			s.abort(ctx, key, upload)
		}
	}()
	partLen := max(uploadPartLen, (size+maxParts-1)/maxParts)
	parts := make([]minio.CompletePart, (size+partLen-1)/partLen)
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(partUploads)
	for i := range parts {
		group.Go(func() error {
			off := int64(i) * partLen
			n := min(partLen, size-off)
			return s.retry(groupCtx, key, func(*attempts) error {
				return send(groupCtx, r, off, n, func(ctx context.Context, body io.Reader, sum string) error {
					opts := minio.PutObjectPartOptions{Sha256Hex: sum, DisableContentSha256: true}
					part, err := s.core.PutObjectPart(ctx, s.bucket, key, upload, i+1, body, n, opts)
					parts[i] = minio.CompletePart{PartNumber: i + 1, ETag: part.ETag}
					return err
				})
			})
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return s.writeOnce(ctx, key, opts, func() (minio.UploadInfo, error) {
		info, err := s.core.CompleteMultipartUpload(ctx, s.bucket, key, upload, parts, condition(minio.PutObjectOptions{}, cond))
		if minio.ToErrorResponse(err).Code == conflictCode {
			err = errConflict
		}
		return info, err
	})
}

// abort frees the parts of an upload, also if ctx is done. Those of an upload
// that it cannot abort remain until a lifecycle rule of the bucket removes them.
func (s *s3) abort(ctx context.Context, key, upload string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_ = s.retry(ctx, key, func(*attempts) error {
		return s.core.AbortMultipartUpload(ctx, s.bucket, key, upload)
	})
}

// send calls do with the bytes of r in the range and their SHA-256, which the
// server compares. An error of r is permanent.
func send(ctx context.Context, r io.ReaderAt, off, n int64, do func(ctx context.Context, body io.Reader, sum string) error) error {
	ctx, dog := watch(ctx)
	defer dog.stop()
	body := &body{SectionReader: io.NewSectionReader(r, off, n), dog: dog}
	hash := sha256.New()
	_, err := io.Copy(hash, body)
	if err == nil {
		_, err = body.Seek(0, io.SeekStart)
	}
	if err == nil {
		err = do(ctx, body, hex.EncodeToString(hash.Sum(nil)))
	}
	if sourceErr := body.end(); sourceErr != nil {
		return permanent{sourceErr}
	}
	return stalled(ctx, err)
}

// A body reads a part of an uploaded object, and remembers the error of its source.
// The transport may read on after an answer, but end waits for that, and prevents
// later reads of a source that the caller may close.
type body struct {
	*io.SectionReader
	dog *watchdog

	mu    sync.Mutex // guards the fields after it, and is held by Read
	err   error
	ended bool
}

// end ends the use of the source, and returns its error.
func (b *body) end() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = true
	return b.err
}

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended {
		return 0, os.ErrClosed
	}
	b.dog.progress()
	n, err := b.SectionReader.Read(p)
	if errors.Is(err, io.EOF) {
		if at, _ := b.Seek(0, io.SeekCurrent); at < b.Size() {
			_, off, _ := b.Outer()
			err = fmt.Errorf("the source ends at byte %d, want %d: %w", off+at, off+b.Size(), io.ErrUnexpectedEOF)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
