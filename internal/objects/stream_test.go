package objects

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A slow ranger needs a second for each range, and counts them.
type slow struct {
	running, most, requests atomic.Int64
	fail                    int64 // offset of the range that fails
}

func (s *slow) readRange(ctx context.Context, p []byte, off int64) error {
	s.requests.Add(1)
	s.most.Store(max(s.most.Load(), s.running.Add(1)))
	defer s.running.Add(-1)
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if off == s.fail {
		return errBroken
	}
	for i := range p {
		p[i] = byte(off + int64(i))
	}
	return nil
}

func (*slow) Close() error { return nil }

var errBroken = errors.New("broken")

// A stream requests one part for each buffer at the same time, and no part
// before the consumer has freed a buffer.
func TestStreamIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &slow{fail: -1}
		r := &Reader{ctx: t.Context(), object: Object{Size: 1000}, src: src}
		start := time.Now()
		stream := r.Stream(t.Context(), 0, r.Size(), 4, 100)
		defer stream.Close()
		time.Sleep(time.Hour) // the consumer is slow
		synctest.Wait()
		if n := src.requests.Load(); n != 4 {
			t.Errorf("%d requests before the first Read, want 4", n)
		}
		if _, err := io.ReadFull(stream, make([]byte, 101)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := src.requests.Load(); n != 5 {
			t.Errorf("%d requests in the second part, want 5", n)
		}
		start = start.Add(time.Hour)
		rest, err := io.ReadAll(stream)
		if err != nil || len(rest) != 899 || rest[0] != 101 {
			t.Errorf("%d bytes, error %v", len(rest), err)
		}
		if d := time.Since(start); d != 2*time.Second { // 6 parts, 4 at the same time
			t.Errorf("the rest took %v", d)
		}
		if n := src.most.Load(); n != 4 {
			t.Errorf("%d requests at the same time, want 4", n)
		}
	})
}

// An error follows the bytes before it and remains.
func TestStreamErrorFollowsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &Reader{ctx: t.Context(), object: Object{Size: 1000}, src: &slow{fail: 500}}
		stream := r.Stream(t.Context(), 0, r.Size(), 4, 100)
		defer stream.Close()
		got, err := io.ReadAll(stream)
		if len(got) != 500 || !errors.Is(err, errBroken) {
			t.Errorf("%d bytes, error %v", len(got), err)
		}
		if _, err := stream.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
			t.Errorf("error of the next Read: %v", err)
		}
	})
}

// Close and a canceled context end all requests.
func TestStreamEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r := &Reader{ctx: t.Context(), object: Object{Size: 1000}, src: &slow{fail: -1}}
		closed, canceled := r.Stream(t.Context(), 0, r.Size(), 4, 100), r.Stream(ctx, 0, r.Size(), 4, 100)
		if err := closed.Close(); err != nil {
			t.Error(err)
		}
		time.AfterFunc(time.Millisecond, func() { cancel(errBroken) })
		if _, err := canceled.Read(make([]byte, 1)); !errors.Is(err, errBroken) {
			t.Errorf("error %v", err)
		}
		canceled.Close()
	})
}
