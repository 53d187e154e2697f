package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sync/errgroup"

	"promostore/builder"
	"promostore/internal/objects"
)

// A run is the run of the shard in one split.
type run struct {
	folder
	RunFile
}

// runs returns the runs of the shard, in the order of the splits.
func (m *merge) runs(ctx context.Context) ([]run, error) {
	runs := make([]run, len(m.Splits))
	err := forEach(ctx, "split", len(runs), func(ctx context.Context, i int) error {
		done, err := m.readSplitDone(ctx, i)
		if err == nil {
			runs[i] = run{m.dir.sub(splitName(i)).sub(done.Attempt), done.Files[m.shard]}
		}
		return err
	})
	return runs, err
}

// receive returns the paths of the runs. Those of object storage are received; those
// of a directory remain where they are.
func (m *merge) receive(ctx context.Context, runs []run) ([]string, error) {
	paths := make([]string, len(runs))
	meter := &receiveMeter{observe: m.observe, status: builder.Status{Phase: PhaseReceive}}
	for _, r := range runs {
		meter.status.InputSize += r.Size
	}
	if !m.dir.isLocal() {
		if err := builder.CheckSpace(m.temp, meter.status.InputSize); err != nil {
			return nil, err
		}
		if err := os.Mkdir(m.received(), 0o700); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(filesAtOnce)
	for i, r := range runs {
		g.Go(func() (err error) {
			paths[i], err = m.receiveRun(ctx, r, i, meter)
			return err
		})
	}
	return paths, g.Wait()
}

// received is the directory of received runs.
func (m *merge) received() string { return filepath.Join(m.temp, "runs") }

func (m *merge) removeReceived() error { return os.RemoveAll(m.received()) }

func (m *merge) receiveRun(ctx context.Context, f run, split int, meter io.Writer) (path string, err error) {
	r, err := f.store.Open(ctx, f.prefix+f.Name)
	if errors.Is(err, objects.ErrNotFound) {
		return "", fmt.Errorf("run of split %d: %w; plan again if it remains missing", split, err)
	}
	if err != nil {
		return "", err
	}
	defer r.Close()
	if r.Size() != f.Size || r.ETag() != f.ETag {
		return "", permanent(fmt.Errorf("run of split %d: %s: %w: %d bytes, ETag %s, want %d and %s; plan again",
			split, f.url(f.Name), objects.ErrChanged, r.Size(), r.ETag(), f.Size, f.ETag))
	}
	if f.isLocal() {
		return filepath.Join(f.path, f.Name), nil
	}
	path = filepath.Join(m.received(), splitName(split))
	return path, download(ctx, r, path, meter)
}

// PhaseReceive is the phase before a merge in which the runs are received. Its
// Status has the bytes as those of an input.
const PhaseReceive builder.Phase = "receive"

// A receiveMeter reports the bytes that are written to it.
type receiveMeter struct {
	observe func(builder.Status) // may be nil

	mu     sync.Mutex // held by calls of observe
	status builder.Status
}

func (m *receiveMeter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status.InputBytes += int64(len(p))
	if m.observe != nil {
		m.observe(m.status)
	}
	return len(p), nil
}

// Files are received at the same time, each in several parts of partLen bytes. They
// take builder.MinMemory, before the merge begins.
const (
	filesAtOnce = 4
	partsOfFile = 4
	partLen     = 4 << 20
)

// download writes an object to a new file and to w.
func download(ctx context.Context, r *objects.Reader, path string, w io.Writer) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	body := r.Stream(ctx, 0, r.Size(), partsOfFile, partLen)
	defer body.Close()
	_, err = io.Copy(io.MultiWriter(f, w), body)
	return errors.Join(err, f.Close())
}

// explainRun makes the error of a run of another build permanent, and that of a
// damaged run in a directory. A received run can be damaged although its object is
// good.
func (m *merge) explainRun(err error) error {
	if errors.Is(err, builder.ErrForeignRun) || m.dir.isLocal() && errors.As(err, new(*builder.RunError)) && isDamage(err) {
		return permanent(fmt.Errorf("%w; plan again", err))
	}
	return err
}

// isDamage reports whether err, of reading a file, is about its content.
func isDamage(err error) bool { return !errors.As(err, new(syscall.Errno)) }
