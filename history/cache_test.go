package history_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"promostore/format/generation"
	"promostore/history"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
)

// With a cache, Generations returns the same as without one, whatever happens to the
// files between two calls.
func TestCacheNoticesChangedFiles(t *testing.T) {
	texts := map[string][]byte{} // of the files, by name
	source := t.TempDir()
	for id := range generation.ID(3) {
		gentest.Publish(t, source, id+1, gentest.Sequence(int(id)))
		gentest.Must(t, generation.WriteSummary(source, id+1, generation.Summary{Source: generation.SourceInbox}))
	}
	files, err := os.ReadDir(source)
	gentest.Must(t, err)
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
		texts[f.Name()], err = os.ReadFile(filepath.Join(source, f.Name()))
		gentest.Must(t, err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		dir := tempDir(t)
		var cache history.Cache
		for range rapid.IntRange(1, 12).Draw(rt, "changes") {
			name := rapid.SampledFrom(names).Draw(rt, "file")
			path := filepath.Join(dir, name)
			switch rapid.SampledFrom([]string{"replace", "rewrite", "remove", "truncate", "swap", "damage"}).Draw(rt, "change") {
			case "replace":
				gentest.Must(rt, os.WriteFile(path+".new", texts[name], 0o644))
				gentest.Must(rt, os.Rename(path+".new", path))
			case "rewrite":
				gentest.Must(rt, os.WriteFile(path, texts[name], 0o644))
			case "remove":
				_ = os.Remove(path)
			case "truncate":
				_ = os.Truncate(path, 10)
			case "swap":
				other := filepath.Join(dir, rapid.SampledFrom(names).Draw(rt, "other"))
				_ = unix.Renameat2(unix.AT_FDCWD, path, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE)
			case "damage":
				damageUnseen(rt, path)
			}
			d := directory(dir)
			want, _, err := d.Generations(t.Context())
			gentest.Must(rt, err)
			d.Cache = &cache
			got, _, err := d.Generations(t.Context())
			gentest.Must(rt, err)
			var v history.View
			if got, want := v.Generations(got, 0), v.Generations(want, 0); !bytes.Equal(got, want) {
				rt.Fatalf("with a cache:\n%s\nwithout:\n%s", got, want)
			}
		}
	})
}

// damageUnseen damages the file at path, if it is there, and restores its time of
// modification, like rsync -t.
func damageUnseen(t gentest.T, path string) {
	before, err := os.Stat(path)
	if err != nil {
		return
	}
	gentest.Overwrite(t, path, 0, []byte("X"))
	// A change time has the resolution of a tick of the kernel.
	for after := before; fsx.IdentityOf(after).Equal(fsx.IdentityOf(before)); {
		gentest.Must(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
		after, err = os.Stat(path)
		gentest.Must(t, err)
	}
}

// A call opens the files that have changed since the last one, even if that was cut
// off after some of them, and no others.
func TestCacheSavesReads(t *testing.T) {
	dir := t.TempDir()
	for id := range generation.ID(3) {
		gentest.PublishSharded(t, dir, id+1, last16, nil)
		gentest.Must(t, generation.WriteSummary(dir, id+1, generation.Summary{Source: generation.SourceInbox}))
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	gentest.Must(t, err)
	defer unix.Close(watch)
	_, err = unix.InotifyAddWatch(watch, dir, unix.IN_OPEN)
	gentest.Must(t, err)
	var cache history.Cache
	d := history.Directory{Path: dir, Digits: generation.AllDigits, Cache: &cache}
	opened := func(when string, ctx context.Context, want int) {
		t.Helper()
		list, _, err := d.Generations(ctx)
		if !errors.Is(err, ctx.Err()) || err == nil && len(list) != 3 {
			t.Errorf("%s: %d generations, %v", when, len(list), err)
		}
		if n := numOpened(t, watch); n != want {
			t.Errorf("%s: %d files were opened, want %d", when, n, want)
		}
	}
	opened("cut off", &endingContext{t.Context(), 2}, 2*17)
	opened("whole", t.Context(), 17)
	opened("again", t.Context(), 0)
	gentest.PublishSharded(t, dir, 2, last16, nil)
	numOpened(t, watch)
	opened("replaced", t.Context(), 16)
	opened("again", t.Context(), 0)
}

// An endingContext ends after calls of Err.
type endingContext struct {
	context.Context
	calls int
}

func (c *endingContext) Err() error {
	if c.calls--; c.calls < 0 {
		return context.Canceled
	}
	return nil
}

// numOpened returns how often a file of the watched directory was opened since the
// last call.
func numOpened(t *testing.T, watch int) (n int) {
	t.Helper()
	buf := make([]byte, 64<<10)
	for {
		length, err := unix.Read(watch, buf)
		if errors.Is(err, unix.EAGAIN) {
			return n
		}
		gentest.Must(t, err)
		for b := buf[:length]; len(b) > 0; {
			if binary.NativeEndian.Uint32(b[4:])&unix.IN_ISDIR == 0 {
				n++
			}
			b = b[unix.SizeofInotifyEvent+binary.NativeEndian.Uint32(b[12:]):]
		}
	}
}
