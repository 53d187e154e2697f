package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	probeLen = 1 << 30 // of the file that the disk is measured with
	chunkLen = 1 << 20 // of a read or write in sequence
	pageLen  = 4 << 10
	seqDepth = 8  // reads or writes in sequence at a time
	depth    = 64 // random reads at a time

	randomTime = 2 * time.Second
)

// diskRates measures the disk under dir past the page cache.
func diskRates(ctx context.Context, dir string) (seqWrite, seqRead, reads float64, err error) {
	path := filepath.Join(dir, fmt.Sprintf("probe-%d", os.Getpid()))
	defer os.Remove(path)
	fail := func(what string, err error) (float64, float64, float64, error) {
		return 0, 0, 0, fmt.Errorf("%s of the disk: %w", what, err)
	}
	f, err := openDirect(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fail("probe", err)
	}
	defer f.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(depth)) // no read waits for a processor
	content := make([]byte, chunkLen)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content) // never fails
	start := time.Now()
	err = eachChunk(ctx, probeLen, func(b []byte, off int64) error {
		copy(b, content)
		_, err := f.WriteAt(b, off)
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return fail("write", err)
	}
	seqWrite = probeLen / time.Since(start).Seconds()
	start = time.Now()
	err = eachChunk(ctx, probeLen, func(b []byte, off int64) error {
		_, err := f.ReadAt(b, off)
		return err
	})
	if err != nil {
		return fail("read", err)
	}
	seqRead = probeLen / time.Since(start).Seconds()
	start = time.Now()
	var n atomic.Int64
	err = inParallel(depth, func(i int) error {
		b := aligned(pageLen)
		rng := rand.New(rand.NewPCG(uint64(i), 1))
		for time.Since(start) < randomTime && ctx.Err() == nil {
			if _, err := f.ReadAt(b, rng.Int64N(probeLen/pageLen)*pageLen); err != nil {
				return err
			}
			n.Add(1)
		}
		return ctx.Err()
	})
	if err != nil {
		return fail("random read", err)
	}
	return seqWrite, seqRead, float64(n.Load()) / time.Since(start).Seconds(), nil
}

// openDirect opens a file past the page cache where the file system can, as
// tmpfs before Linux 6.6 cannot.
func openDirect(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		return os.OpenFile(path, flag&^os.O_EXCL, 0o600)
	}
	return f, err
}

// eachChunk calls do with a buffer and an offset for each chunk of size bytes,
// seqDepth at a time.
func eachChunk(ctx context.Context, size int64, do func(b []byte, off int64) error) error {
	var next atomic.Int64
	return inParallel(seqDepth, func(int) error {
		b := aligned(chunkLen)
		for ctx.Err() == nil {
			off := next.Add(chunkLen) - chunkLen
			if off >= size {
				return nil
			}
			if err := do(b[:min(size-off, chunkLen)], off); err != nil {
				return err
			}
		}
		return ctx.Err()
	})
}

// inParallel calls do n times at once and joins the errors.
func inParallel(n int, do func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = do(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// aligned is n bytes that begin with a page, as O_DIRECT wants them.
func aligned(n int) []byte {
	b := make([]byte, n+pageLen)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) % pageLen)
	return b[skip : skip+n]
}

// ReadFile reads the file at path in sequence, as cp would, and returns its
// length in bytes: the floor of whatever has to read all of it.
func ReadFile(ctx context.Context, path string) (int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	b := make([]byte, chunkLen)
	size := int64(0)
	for ctx.Err() == nil {
		n, err := f.Read(b)
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
	return size, ctx.Err()
}

// Evict takes a file out of the page cache, so that it is read from the disk
// next. What is mapped, locked or not yet written stays.
func Evict(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return fmt.Errorf("evict %s: %w", path, err)
	}
	return nil
}
