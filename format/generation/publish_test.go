package generation_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"

	"golang.org/x/sys/unix"
)

var now = time.Date(2026, 11, 22, 10, 30, 0, 123e6, time.UTC) // that of aName

// openWriter opens dir and closes it when the test ends.
func openWriter(t *testing.T, dir string) *generation.Writer {
	t.Helper()
	w, err := generation.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// create begins the generation that is due at the instant.
func create(t *testing.T, w *generation.Writer, at time.Time) *generation.Pending {
	t.Helper()
	id, err := w.Next(at)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantNames checks the names in dir, besides that of the lock.
func wantNames(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if e.Name() != ".lock" {
			got = append(got, e.Name())
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("the directory has %q, want %q", got, want)
	}
}

func TestPublish(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	w := openWriter(t, dir)
	wantNames(t, dir)
	p := create(t, w, now)
	content := []byte("one generation")
	if _, err := p.WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "."+aName+".tmp")
	if list, err := generation.List(dir); err != nil || len(list) != 0 {
		t.Errorf("before it is published List gives %v, %v", list, err)
	}
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, aName)
	if want := filepath.Join(dir, aName); p.Path() != want {
		t.Errorf("path %s, want %s", p.Path(), want)
	}
	if got, err := os.ReadFile(p.Path()); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := p.Discard(); err != nil {
		t.Errorf("Discard after Publish: %v", err)
	}
	wantNames(t, dir, aName)
}

func TestDiscard(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	p := create(t, w, now)
	if err := p.Discard(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)
	if err := p.Discard(); err != nil {
		t.Errorf("Discard again: %v", err)
	}
	if err := p.Publish(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Publish after Discard: %v, want %v", err, os.ErrClosed)
	}
	wantNames(t, dir)

	p = create(t, w, now)
	p.Close()
	if err := p.Discard(); err != nil {
		t.Errorf("Discard of a closed file: %v", err)
	}
	wantNames(t, dir)
}

// TestPublishErrors takes away what Publish needs.
func TestPublishErrors(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)

	p := create(t, w, now)
	p.Close()
	if err := p.Publish(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a file that is closed already: %v, want %v", err, os.ErrClosed)
	}
	wantNames(t, dir)

	// A directory stands where the file should go.
	p = create(t, w, now)
	if err := os.Mkdir(p.Path(), 0o755); err != nil {
		t.Fatal(err)
	}
	var link *os.LinkError
	if err := p.Publish(); !errors.As(err, &link) {
		t.Errorf("a name that is taken: %v, want that of the rename", err)
	}
	wantNames(t, dir, aName)
	os.Remove(p.Path())

	// The temporary file is gone.
	p = create(t, w, now)
	if err := os.Remove(p.Name()); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is gone: %v, want %v", err, fs.ErrNotExist)
	}
	wantNames(t, dir)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	first := openWriter(t, dir)
	p := create(t, first, now)
	_, err := generation.OpenWriter(dir)
	if !errors.Is(err, generation.ErrLocked) {
		t.Fatalf("a second writer: %v, want %v", err, generation.ErrLocked)
	}
	if pid := strconv.Itoa(os.Getpid()); !strings.Contains(err.Error(), "process "+pid+" ") || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %q names neither process %s nor %s", err, pid, dir)
	}
	wantNames(t, dir, "."+aName+".tmp") // not swept away by the second
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openWriter(t, dir)
	wantNames(t, dir, aName)
}

// TestLockKept checks that a longer number in the lock file does not show
// behind that of the process that has it now.
func TestLockKept(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".lock"), []byte("123456789012345\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	openWriter(t, dir)
	got, err := os.ReadFile(filepath.Join(dir, ".lock"))
	if want := strconv.Itoa(os.Getpid()) + "\n"; err != nil || string(got) != want {
		t.Errorf("the lock has %q, %v, want %q", got, err, want)
	}
}

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	keep := []string{
		".hidden", ".promotions-.pgen.tmp", "." + aName + ".Xa81bc", "." + aName + ".tmp.x",
		".promotions-notes.pgen.tmp", aName, aName + ".tmp",
	}
	touch(t, dir, keep...)
	touch(t, dir, "."+aName+".tmp", ".promotions-20251122T103000123Z-00003-of-00016.pgen.tmp")
	openWriter(t, dir)
	wantNames(t, dir, keep...)
}

func TestNext(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	next := func(at time.Time) generation.ID {
		t.Helper()
		id, err := w.Next(at)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	id := generation.IDOf(now)
	if got := next(now); got != id {
		t.Errorf("in an empty directory %s, want %s", got, id)
	}
	touch(t, dir, aName)
	if got := next(now); got != id+1 {
		t.Errorf("at the same instant %s, want %s", got, id+1)
	}
	if got := next(now.Add(-time.Hour)); got != id+1 {
		t.Errorf("with a clock that went back %s, want %s", got, id+1)
	}
	if got := next(now.Add(time.Hour)); got != generation.IDOf(now.Add(time.Hour)) {
		t.Errorf("an hour later %s", got)
	}
	// One shard of many, which is not whole, counts.
	touch(t, dir, generation.Name{ID: id + 5, Shard: 3, Shards: 16}.String())
	if got := next(now); got != id+6 {
		t.Errorf("behind a shard %s, want %s", got, id+6)
	}
}

func TestCreateRefused(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	touch(t, dir, aName)
	id := generation.IDOf(now)
	for _, old := range []generation.ID{0, id - 1, id} {
		if _, err := w.Create(old); err == nil || !strings.Contains(err.Error(), id.String()) {
			t.Errorf("generation %s: %v, want an error that names %s", old, err, id)
		}
	}
	for _, out := range []generation.ID{-1, maxID + 1} {
		if _, err := w.Create(out); !errors.Is(err, generation.ErrName) {
			t.Errorf("generation %d: %v, want %v", out, err, generation.ErrName)
		}
	}
	wantNames(t, dir, aName)
	p := create(t, w, now)
	if _, err := w.Create(id + 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same generation twice: %v, want %v", err, fs.ErrExist)
	}
	wantNames(t, dir, filepath.Base(p.Name()), aName)
}

func TestOpenWriterErrors(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, "file")
	if _, err := generation.OpenWriter(filepath.Join(dir, "file")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file instead of the directory: %v, want %v", err, syscall.ENOTDIR)
	}
	if err := os.MkdirAll(filepath.Join(dir, "d", ".lock"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := generation.OpenWriter(filepath.Join(dir, "d")); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("a directory instead of the lock: %v, want %v", err, syscall.EISDIR)
	}
}

func TestNotWritable(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	asNobody(func() {
		if _, err := w.Create(generation.IDOf(now)); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Create: %v, want %v", err, fs.ErrPermission)
		}
		if _, err := generation.OpenWriter(dir); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("OpenWriter: %v, want %v", err, fs.ErrPermission)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)

	// The directory loses its permission while a build writes.
	p := create(t, w, now)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	asNobody(func() {
		if err := p.Publish(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Publish: %v, want %v", err, fs.ErrPermission)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if list, err := generation.List(dir); err != nil || len(list) != 0 {
		t.Errorf("after Publish failed List gives %v, %v", list, err)
	}
}

// asNobody runs f with file permissions that count, also for root: on a thread
// that has the file system user of nobody, and ends with f.
func asNobody(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread is not used again
		if os.Geteuid() == 0 {
			_, _ = unix.SetfsuidRetUid(65534) // it says who it was, not whether it worked
		}
		f()
	}()
	<-done
}

// TestUnlinkedWhileOpen is what pruning does under a server.
func TestUnlinkedWhileOpen(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	p := create(t, w, now)
	if _, err := p.WriteAt([]byte("content"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p.Path())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := create(t, w, now)
	if err := next.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.Path()); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("content"))
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "content" {
		t.Errorf("the open file reads as %q, %v", b, err)
	}
	wantNames(t, dir, filepath.Base(next.Path()))
}

// TestPublishBehindOthers has files come by another way while one is written.
func TestPublishBehindOthers(t *testing.T) {
	dir := t.TempDir()
	w, err := generation.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, other := range []generation.ID{1000, 2000} {
		p, err := w.Create(other)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, generation.Name{ID: other, Shards: 1}.String())
		if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(); err == nil {
			t.Errorf("published behind %s", other)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "theirs" {
			t.Errorf("their file has %q, %v", got, err)
		}
	}
	p, err := w.Create(3000)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, generation.Name{ID: 4000, Shards: 1}.String())
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := p.Renew(time.UnixMilli(3500)); err != nil || id != 4001 {
		t.Fatalf("renewed to %d, %v", id, err)
	}
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	list, err := generation.List(dir)
	if err != nil || len(list) != 4 || list[3].ID != 4001 {
		t.Errorf("List gives %v, %v", list, err)
	}
}

// A command that is being started has a copy of every descriptor until it runs,
// which must not keep the lock.
func TestCloseWithCopy(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	copyOf(t, filepath.Join(dir, ".lock"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	openWriter(t, dir)
}

// copyOf duplicates the descriptor of an open file until the test ends.
func copyOf(t *testing.T, path string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err != nil || target != path {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		duplicate, err := syscall.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(duplicate) })
		return
	}
	t.Fatalf("%s is not open", path)
}
