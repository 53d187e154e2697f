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

	"promostore/format"
	"promostore/format/generation"

	"golang.org/x/sys/unix"
)

var now = time.Date(2026, 11, 22, 10, 30, 0, 123e6, time.UTC) // the time in aName

// openWriter opens a Writer for dir and closes it when the test ends.
func openWriter(t *testing.T, dir string) *generation.Writer {
	t.Helper()
	w, err := generation.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// create begins the next generation at this time.
func create(t *testing.T, w *generation.Writer, at time.Time) *generation.Pending {
	t.Helper()
	id, err := w.Next(at)
	if err != nil {
		t.Fatal(err)
	}
	p, err := w.Create(id, format.Unsharded)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantNames checks the names in dir, except for the lock file.
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
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		t.Errorf("files %q, want %q", got, want)
	}
}

func TestPublish(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	w := openWriter(t, dir)
	wantNames(t, dir)
	p := create(t, w, now)
	content := []byte("one generation")
	if _, err := p.File(0).WriteAt(content, 0); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "."+aName+".tmp")
	if list, err := generation.List(dir); err != nil || len(list) != 0 {
		t.Errorf("List before Publish: %v, %v", list, err)
	}
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, aName)
	if want := filepath.Join(dir, aName); p.Paths()[0] != want {
		t.Errorf("path %s, want %s", p.Paths()[0], want)
	}
	if got, err := os.ReadFile(p.Paths()[0]); err != nil || !bytes.Equal(got, content) {
		t.Errorf("content %q, %v", got, err)
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
	p.File(0).Close()
	if err := p.Discard(); err != nil {
		t.Errorf("Discard of a closed file: %v", err)
	}
	wantNames(t, dir)
}

// TestPublishErrors makes the steps of Publish fail.
func TestPublishErrors(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)

	p := create(t, w, now)
	p.File(0).Close()
	if err := p.Publish(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed file: %v, want %v", err, os.ErrClosed)
	}
	wantNames(t, dir)

	// A directory has the name of the published file.
	p = create(t, w, now)
	if err := os.Mkdir(p.Paths()[0], 0o755); err != nil {
		t.Fatal(err)
	}
	var link *os.LinkError
	if err := p.Publish(); !errors.As(err, &link) {
		t.Errorf("existing directory: %v, want an error of the rename", err)
	}
	wantNames(t, dir, aName)
	os.Remove(p.Paths()[0])

	// The temporary file does not exist.
	p = create(t, w, now)
	if err := os.Remove(p.File(0).Name()); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v, want %v", err, fs.ErrNotExist)
	}
	wantNames(t, dir)
}

func TestOpenWriterLocked(t *testing.T) {
	dir := t.TempDir()
	first := openWriter(t, dir)
	p := create(t, first, now)
	_, err := generation.OpenWriter(dir)
	if !errors.Is(err, generation.ErrLocked) {
		t.Fatalf("second writer: %v, want %v", err, generation.ErrLocked)
	}
	if pid := strconv.Itoa(os.Getpid()); !strings.Contains(err.Error(), "process "+pid+" ") || !strings.Contains(err.Error(), dir) {
		t.Errorf("error %q, want the process %s and the directory %s", err, pid, dir)
	}
	wantNames(t, dir, "."+aName+".tmp") // not removed by the second writer
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openWriter(t, dir)
	wantNames(t, dir, aName)
}

// TestLockFileTruncated checks that a longer number in the lock file does not
// remain after the number of the current process.
func TestLockFileTruncated(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".lock"), []byte("123456789012345\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	openWriter(t, dir)
	got, err := os.ReadFile(filepath.Join(dir, ".lock"))
	if want := strconv.Itoa(os.Getpid()) + "\n"; err != nil || string(got) != want {
		t.Errorf("lock file %q, %v, want %q", got, err, want)
	}
}

func TestOpenWriterRemovesTemporaryFiles(t *testing.T) {
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
		t.Errorf("empty directory: %s, want %s", got, id)
	}
	touch(t, dir, aName)
	if got := next(now); got != id+1 {
		t.Errorf("same time: %s, want %s", got, id+1)
	}
	if got := next(now.Add(-time.Hour)); got != id+1 {
		t.Errorf("clock set back: %s, want %s", got, id+1)
	}
	if got := next(now.Add(time.Hour)); got != generation.IDOf(now.Add(time.Hour)) {
		t.Errorf("an hour later: %s", got)
	}
	// An incomplete generation counts.
	touch(t, dir, generation.Name{ID: id + 5, Shard: 3, Shards: 16}.String())
	if got := next(now); got != id+6 {
		t.Errorf("after a shard: %s, want %s", got, id+6)
	}
}

func TestCreateErrors(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	touch(t, dir, aName)
	id := generation.IDOf(now)
	for _, old := range []generation.ID{0, id - 1, id} {
		if _, err := w.Create(old, format.Unsharded); err == nil || !strings.Contains(err.Error(), id.String()) {
			t.Errorf("generation %s: %v, want an error with %s", old, err, id)
		}
	}
	for _, s := range []format.Sharding{{}, {Shards: 16}, {Rule: format.ShardLast, Shards: 1}, {Rule: format.ShardFirst, Shards: 24}, {Rule: 3, Shards: 16}} {
		if _, err := w.Create(id+1, s); err == nil {
			t.Errorf("sharding %+v is accepted", s)
		}
	}
	for _, out := range []generation.ID{-1, maxID + 1} {
		if _, err := w.Create(out, format.Unsharded); !errors.Is(err, generation.ErrName) {
			t.Errorf("generation %d: %v, want %v", out, err, generation.ErrName)
		}
	}
	wantNames(t, dir, aName)
	p := create(t, w, now)
	if _, err := w.Create(id+1, format.Unsharded); !errors.Is(err, fs.ErrExist) {
		t.Errorf("second pending file: %v, want %v", err, fs.ErrExist)
	}
	wantNames(t, dir, filepath.Base(p.File(0).Name()), aName)
}

// A generation from the future neither delays nor prevents generations of now.
func TestFutureGenerationDoesNotCount(t *testing.T) {
	for _, future := range []generation.ID{generation.IDOf(time.Now().Add(2 * time.Hour)), maxID} {
		dir := t.TempDir()
		file := generation.Name{ID: future, Shards: 1}.String()
		touch(t, dir, file)
		w := openWriter(t, dir)
		began := time.Now()
		id, err := w.Next(began)
		if err != nil || id != generation.IDOf(began) {
			t.Fatalf("Next: %s, %v; want %s", id, err, generation.IDOf(began))
		}
		p, err := w.Create(id, format.Unsharded)
		if err != nil {
			t.Fatal(err)
		}
		if renewed, err := p.Renew(began); err != nil || renewed != id {
			t.Errorf("Renew: %s, %v; want %s", renewed, err, id)
		}
		if err := p.Publish(); err != nil {
			t.Fatal(err)
		}
		if next, err := w.Next(began); err != nil || next != id+1 {
			t.Errorf("Next: %s, %v; want %s", next, err, id+1)
		}
		list, err := generation.List(dir)
		if err != nil || len(list) != 2 || list[0].ID != future || list[1].ID != id {
			t.Errorf("List: %v, %v; want the future one first", list, err)
		}
		if got := generation.Future(list); len(got) != 1 || got[0].ID != future {
			t.Errorf("Future: %v", got)
		}
		check := func(generation.Generation) error { return nil }
		pruned, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 1, Check: check})
		if err != nil || len(pruned.Removed) != 0 {
			t.Errorf("Prune removes %v, %v; want nothing", pruned.Removed, err)
		}
		if _, err := w.Create(future, format.Unsharded); err == nil {
			t.Error("Create accepts an ID that exists")
		}
	}
}

// A build that started while the clock was ahead gets the ID of its end.
func TestRenewCorrectsFutureID(t *testing.T) {
	w := openWriter(t, t.TempDir())
	now := time.Now()
	p := create(t, w, now.Add(48*time.Hour))
	if id, err := p.Renew(now); err != nil || id != generation.IDOf(now) {
		t.Errorf("Renew: %s, %v; want %s", id, err, generation.IDOf(now))
	}
}

func TestOpenWriterErrors(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, "file")
	if _, err := generation.OpenWriter(filepath.Join(dir, "file")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("file in place of the directory: %v, want %v", err, syscall.ENOTDIR)
	}
	if err := os.MkdirAll(filepath.Join(dir, "d", ".lock"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := generation.OpenWriter(filepath.Join(dir, "d")); !errors.Is(err, syscall.EISDIR) {
		t.Errorf("directory in place of the lock file: %v, want %v", err, syscall.EISDIR)
	}
}

func TestWriterWithoutPermission(t *testing.T) {
	dir, unused := t.TempDir(), t.TempDir()
	w := openWriter(t, dir)
	for _, d := range []string{dir, unused} {
		if err := os.Chmod(d, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	unprivileged(func() {
		if _, err := w.Create(generation.IDOf(now), format.Unsharded); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Create: %v, want %v", err, fs.ErrPermission)
		}
		if _, err := generation.OpenWriter(unused); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("OpenWriter: %v, want %v", err, fs.ErrPermission)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir)

	// The directory becomes read-only during a build.
	p := create(t, w, now)
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	unprivileged(func() {
		if err := p.Publish(); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Publish: %v, want %v", err, fs.ErrPermission)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if list, err := generation.List(dir); err != nil || len(list) != 0 {
		t.Errorf("List after a failed Publish: %v, %v", list, err)
	}
}

// unprivileged runs f without the privileges of root on files: on a thread with
// another file system user ID, which ends with f.
func unprivileged(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // without unlocking: the thread ends
		if os.Geteuid() == 0 {
			_, _ = unix.SetfsuidRetUid(65534) // returns the previous ID, not an error
		}
		f()
	}()
	<-done
}

// TestRemovedFileStaysReadable removes a file that is open, like Prune while a
// server reads it.
func TestRemovedFileStaysReadable(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	p := create(t, w, now)
	if _, err := p.File(0).WriteAt([]byte("content"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p.Paths()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	next := create(t, w, now)
	if err := next.Publish(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p.Paths()[0]); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, len("content"))
	if _, err := f.ReadAt(b, 0); err != nil || string(b) != "content" {
		t.Errorf("content of the open file %q, %v", b, err)
	}
	wantNames(t, dir, filepath.Base(next.Paths()[0]))
}

// TestPublishAfterOthers adds files by other ways while a file is pending.
func TestPublishAfterOthers(t *testing.T) {
	dir := t.TempDir()
	w, err := generation.OpenWriter(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	for _, other := range []generation.ID{1000, 2000} {
		p, err := w.Create(other, format.Unsharded)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, generation.Name{ID: other, Shards: 1}.String())
		if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Publish(); err == nil {
			t.Errorf("Publish succeeds although %s exists", other)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "other" {
			t.Errorf("content of the other file %q, %v", got, err)
		}
	}
	p, err := w.Create(3000, format.Unsharded)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, generation.Name{ID: 4000, Shards: 1}.String())
	if err := os.WriteFile(path, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := p.Renew(time.UnixMilli(3500)); err != nil || id != 4001 {
		t.Fatalf("Renew: %d, %v", id, err)
	}
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
	list, err := generation.List(dir)
	if err != nil || len(list) != 4 || list[3].ID != 4001 {
		t.Errorf("List: %v, %v", list, err)
	}
}

// TestCloseReleasesLockOfCopies checks that a copy of the descriptor, such as a
// starting child process has, does not keep the lock.
func TestCloseReleasesLockOfCopies(t *testing.T) {
	dir := t.TempDir()
	w := openWriter(t, dir)
	duplicate(t, filepath.Join(dir, ".lock"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	openWriter(t, dir)
}

// duplicate copies the descriptor of an open file until the test ends.
func duplicate(t *testing.T, path string) {
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
		copied, err := syscall.Dup(fd)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { syscall.Close(copied) })
		return
	}
	t.Fatalf("%s is not open", path)
}
