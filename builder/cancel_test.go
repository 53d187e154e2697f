package builder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// blockingPipe returns a pipe like that of a shell: its reads block.
func blockingPipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	r, w = os.NewFile(uintptr(fds[0]), "r"), os.NewFile(uintptr(fds[1]), "w")
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

func TestGrowPipeDoesNotShrink(t *testing.T) {
	for _, before := range []int{4 << 10, 64 << 10, 256 << 10} {
		r, _ := blockingPipe(t)
		if _, err := unix.FcntlInt(r.Fd(), unix.F_SETPIPE_SZ, before); err != nil {
			t.Fatal(err)
		}
		growPipe(r, 64<<10)
		if got, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0); err != nil || got != max(before, 64<<10) {
			t.Errorf("capacity %d became %d, error %v", before, got, err)
		}
	}
}

// Inputs of all kinds are read to their ends, and Close closes them.
func TestCancelableReaderOfEachKind(t *testing.T) {
	want := bytes.Repeat([]byte("promotions"), 100_000)
	dir := t.TempDir()
	regular, fifo := filepath.Join(dir, "regular"), filepath.Join(dir, "fifo")
	if err := os.WriteFile(regular, append([]byte("header\n"), want...), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	write := func(w io.WriteCloser) {
		_, err := w.Write(want)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Error(err)
		}
	}
	for name, open := range map[string]func() (io.ReadCloser, error){
		"regular, from an offset": func() (io.ReadCloser, error) {
			f, err := os.Open(regular)
			if err == nil {
				_, err = f.Seek(int64(len("header\n")), io.SeekStart)
			}
			return f, err
		},
		"fifo": func() (io.ReadCloser, error) {
			go func() {
				w, err := os.OpenFile(fifo, os.O_WRONLY, 0)
				if err != nil {
					t.Error(err)
					return
				}
				write(w)
			}()
			return os.Open(fifo)
		},
		"pipe": func() (io.ReadCloser, error) {
			r, w := blockingPipe(t)
			go write(w)
			return r, nil
		},
		"socket": func() (io.ReadCloser, error) {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			go write(os.NewFile(uintptr(fds[1]), "w"))
			return os.NewFile(uintptr(fds[0]), "r"), nil
		},
		"not a file": func() (io.ReadCloser, error) {
			r, w := io.Pipe()
			go write(w)
			return r, nil
		},
	} {
		f, err := open()
		if err != nil {
			t.Fatal(name, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		in := cancelableReader(ctx, f)
		got, err := io.ReadAll(in)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, want %d, or the data differs; error %v", name, len(got), len(want), err)
		}
		cancel()
		if err := in.Close(); err != nil {
			t.Errorf("%s: Close: %v", name, err)
		}
		if _, err := f.Read(make([]byte, 1)); err == nil || errors.Is(err, unix.EAGAIN) {
			t.Errorf("%s: not closed: error %v", name, err)
		}
	}
}

// BenchmarkPipe reads a pipe in chunks: as a build does, and with plain reads and
// the default capacity.
func BenchmarkPipe(b *testing.B) {
	for _, c := range []struct {
		name string
		open func(ctx context.Context, r *os.File) io.Reader
	}{
		{"cancelable", func(ctx context.Context, r *os.File) io.Reader { return cancelableReader(ctx, r) }},
		{"plain", func(_ context.Context, r *os.File) io.Reader { return r }},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, w := blockingPipe(b)
			in := c.open(b.Context(), r)
			ended := make(chan error)
			go func() {
				piece := make([]byte, 64<<10)
				for {
					if _, err := w.Write(piece); err != nil {
						ended <- err
						return
					}
				}
			}()
			chunk := make([]byte, 256<<10)
			b.SetBytes(int64(len(chunk)))
			for b.Loop() {
				if _, err := io.ReadFull(in, chunk); err != nil {
					b.Fatal(err)
				}
			}
			if c, ok := in.(io.Closer); ok {
				c.Close()
			}
			r.Close()
			if err := <-ended; !errors.Is(err, unix.EPIPE) {
				b.Error(err)
			}
		})
	}
}
