package builder

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"promostore/internal/synth"
)

func TestTruncatedCompressedInputFails(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 2000})
	var gz, zst bytes.Buffer
	w := gzip.NewWriter(&gz)
	e, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{w, e} {
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, whole := range map[string][]byte{"gzip": gz.Bytes(), "zstd": zst.Bytes()} {
		for _, n := range []int{5, 20, len(whole) / 2, len(whole) - 5, len(whole) - 1} {
			dir := t.TempDir()
			_, err := Build(t.Context(), Options{Inputs: []Input{stream("truncated", whole[:n])}, Dir: dir, Memory: MinMemory})
			if err == nil || !strings.Contains(err.Error(), "truncated: ") || strings.Contains(err.Error(), "EOF") {
				t.Errorf("%s truncated to %d of %d bytes: error %v", name, n, len(whole), err)
			}
			wantFiles(t, dir, ".lock")
		}
	}
}

// A failing reader returns err in place of io.EOF.
type failing struct {
	r   io.Reader
	err error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

func TestInputReadErrorFailsBuild(t *testing.T) {
	lost := errors.New("lost")
	for _, err := range []error{lost, io.ErrUnexpectedEOF} {
		for _, n := range []int64{0, 3, 100, 5000} {
			dir := t.TempDir()
			data := csvOf(t, synth.DataSet{Rows: 200})
			in := StreamInput("in", failing{io.LimitReader(bytes.NewReader(data), n), err})
			if _, got := Build(t.Context(), Options{Inputs: []Input{in}, Dir: dir, Memory: MinMemory}); !errors.Is(got, err) {
				t.Errorf("after %d bytes: error %v, want %v", n, got, err)
			}
			wantFiles(t, dir, ".lock")
		}
	}
	_, err := Build(t.Context(), Options{Inputs: []Input{FileInput("/no/such/file")}, Dir: t.TempDir(), Memory: MinMemory})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: error %v", err)
	}
}

// A blocked Read of an input does not block the end of a build.
func TestCancelWithBlockedInput(t *testing.T) {
	r, w := io.Pipe()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Build(ctx, Options{Inputs: []Input{StreamInput("pipe", r)}, Dir: dir, Memory: MinMemory})
		done <- err
	}()
	if _, err := w.Write([]byte("172ffc14-d229-4c93")); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	w.Close() // ends the blocked Read
	wantFiles(t, dir, ".lock")
}

func TestSystemPipeIsReadToItsEnd(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 10_000})
	_, want := mustBuild(t, inMemory, Options{Inputs: []Input{stream("a", data)}})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		for rest := data; len(rest) > 0; {
			n, err := w.Write(rest[:min(len(rest), 100_001)])
			if err != nil {
				t.Error(err)
			}
			rest = rest[n:]
		}
		w.Close()
	}()
	if _, got := mustBuild(t, inMemory, Options{Inputs: []Input{StreamInput("pipe", r)}}); !bytes.Equal(got, want) {
		t.Error("different bytes")
	}
}

// A blocked read of a system pipe does not block the end of a build.
func TestCancelWithBlockedSystemPipe(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 10})
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for { // until the build has read all data and waits for more
			left, err := unix.IoctlGetInt(int(w.Fd()), unix.TIOCINQ)
			if left == 0 || err != nil {
				return
			}
			runtime.Gosched()
		}
	}()
	dir := t.TempDir()
	_, err = Build(ctx, Options{Inputs: []Input{StreamInput("pipe", r)}, Dir: dir, Memory: MinMemory})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	wantFiles(t, dir, ".lock")
}

func TestLargeZstdWindowFails(t *testing.T) {
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithWindowSize(2*maxWindow))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (synth.DataSet{Rows: 500_000}).WriteTo(w); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Build(t.Context(), Options{Inputs: []Input{stream("a", b.Bytes())}, Dir: t.TempDir(), Memory: MinMemory})
	if !errors.Is(err, ErrWindow) || !strings.Contains(err.Error(), "zstd data: the window is larger than 8 MiB: it has 16 MiB; compress the data without --long=24 and --ultra of zstd") {
		t.Errorf("error %v", err)
	}
	// The largest window that is allowed, and a frame that is its own window.
	for name, tc := range map[string]struct {
		opts []zstd.EOption
		rows int64
		want error
	}{
		"8 MiB":             {[]zstd.EOption{zstd.WithWindowSize(maxWindow)}, 500_000, nil},
		"content of 6 MiB":  {[]zstd.EOption{zstd.WithSingleSegment(true)}, 80_000, nil},
		"content of 15 MiB": {[]zstd.EOption{zstd.WithSingleSegment(true)}, 200_000, ErrWindow},
	} {
		e, err := zstd.NewWriter(nil, tc.opts...)
		if err != nil {
			t.Fatal(err)
		}
		packed := e.EncodeAll(csvOf(t, synth.DataSet{Rows: tc.rows}), nil)
		_, err = Build(t.Context(), Options{Inputs: []Input{stream("a", packed)}, Dir: t.TempDir(), Memory: MinMemory})
		if !errors.Is(err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, err, tc.want)
		}
	}
}

// An input that expands more than a data set can fails for any content.
func TestExcessiveExpansionFails(t *testing.T) {
	row := strings.Repeat("172ffc14-d229-4c93-b06b-f48b8c095512,9.68,2022-06-04 06:01:20\n", 4096)
	for name, piece := range map[string]string{
		"blank lines": strings.Repeat("\n", len(row)), "a line without end": strings.Repeat("0", len(row)), "one row repeated": row,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			for range maxFree/len(row) + 5 {
				if _, err := io.WriteString(z, piece); err != nil {
					t.Fatal(err)
				}
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := Build(t.Context(), Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: []Input{stream("bomb", b.Bytes())}})
			if !errors.Is(err, ErrExpansion) {
				t.Errorf("%d bytes: error %v, want %v", b.Len(), err, ErrExpansion)
			} else if !strings.Contains(err.Error(), "200-fold; if it is one, decompress it first") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Compressed data that decompresses to nothing is refused after a part of it.
// Larger metadata than any tool writes is not.
func TestCompressedDataWithoutRowsFails(t *testing.T) {
	zstdEmpty := "\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00"
	zstdEmptyBlocks := "\x28\xb5\x2f\xfd\x00\x58" + strings.Repeat("\x00\x00\x00", 2<<20)
	skippable := "\x50\x2a\x4d\x18\x04\x00\x00\x00size"
	var member bytes.Buffer
	if err := gzip.NewWriter(&member).Close(); err != nil {
		t.Fatal(err)
	}
	gzipEmpty := member.String()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	row := string(encoder.EncodeAll([]byte("172ffc14-d229-4c93-b06b-f48b8c095510,9.68,2022-06-04 06:01:20\n"), nil))
	for name, data := range map[string]string{
		"empty zstd frames":        row + strings.Repeat(zstdEmpty, 4<<20/len(zstdEmpty)),
		"empty zstd blocks":        row + zstdEmptyBlocks,
		"skippable zstd frames":    row + strings.Repeat(skippable, 4<<20/len(skippable)),
		"one long skippable frame": row + "\x50\x2a\x4d\x18\x00\x00\x40\x00" + strings.Repeat("x", 4<<20),
		"empty gzip members":       strings.Repeat(gzipEmpty, 4<<20/len(gzipEmpty)),
	} {
		in := &countingReader{r: strings.NewReader(data)}
		_, err := Build(t.Context(), Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: []Input{StreamInput("input", in)}})
		if !errors.Is(err, ErrNoRows) {
			t.Errorf("%s: error %v, want %v", name, err, ErrNoRows)
		}
		if in.n > 3<<20 {
			t.Errorf("%s: %d bytes were read", name, in.n)
		}
	}
	few := row + strings.Repeat(zstdEmpty, 1000) + strings.Repeat(skippable, 1000)
	if _, err := Build(t.Context(), Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: []Input{StreamInput("input", strings.NewReader(few))}}); err != nil {
		t.Error(err)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}
