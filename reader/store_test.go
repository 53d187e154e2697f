package reader_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
	"promostore/reader"
)

// publish writes a generation into dir and returns its path.
func publish(t gentest.T, dir string, id generation.ID, keys []format.Key) string {
	t.Helper()
	path := gentest.Path(dir, id)
	writeFile(t, path, id, keys)
	return path
}

// keysOf is what generation id has, and no other generation.
func keysOf(id generation.ID) []format.Key {
	keys := make([]format.Key, 1000)
	for i := range keys {
		keys[i] = format.Key{Hi: uint64(i) << 32, Lo: uint64(id)}
	}
	return keys
}

// A testStore is a Store over a directory, with the events so far.
type testStore struct {
	*reader.Store
	t      *testing.T
	dir    string
	events chan reader.Event
}

func newTestStore(t *testing.T, opts reader.StoreOptions) *testStore {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	s := &testStore{t: t, dir: t.TempDir(), events: make(chan reader.Event, 1000)}
	opts.Notify = func(e reader.Event) { s.events <- e }
	s.Store = reader.NewStore(s.dir, opts)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if maps, fds := openFiles(t, s.dir); maps != 0 || fds != 0 {
			t.Errorf("after Close, %d mappings and %d descriptors are left", maps, fds)
		}
	})
	return s
}

func (s *testStore) publish(id generation.ID) string { return publish(s.t, s.dir, id, keysOf(id)) }

func (s *testStore) poll() {
	s.t.Helper()
	if err := s.Poll(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

// want waits for these events, in this order, and for no more that are there.
func (s *testStore) want(want ...reader.Event) {
	s.t.Helper()
	for _, w := range want {
		e := <-s.events
		if e.Kind != w.Kind || e.ID != w.ID || !errors.Is(e.Err, w.Err) {
			s.t.Fatalf("event %+v, want %+v", e, w)
		}
	}
	select {
	case e := <-s.events:
		s.t.Fatalf("event %+v, want none", e)
	default:
	}
}

// wantLive checks that generation id, or none if it is 0, answers.
func (s *testStore) wantLive(id generation.ID) {
	s.t.Helper()
	f := s.Acquire(1)
	if f == nil {
		if id != 0 {
			s.t.Fatalf("nothing is live, want %s", id)
		}
		return
	}
	defer s.Release(f, 1)
	if f.ID() != id {
		s.t.Fatalf("%s is live, want %s", f.ID(), id)
	}
	checkGeneration(s.t, f)
}

// checkGeneration looks up an id of the generation of f, and one of another.
func checkGeneration(t *testing.T, f *reader.File) {
	k := keysOf(f.ID())[700]
	if r, found, err := f.Get(k); r != recordOf(k) || !found || err != nil {
		t.Errorf("%s: Get(%s) = %x, %v, %v", f.ID(), k, r, found, err)
	}
	k = keysOf(f.ID() + 1)[700]
	if _, found, err := f.Get(k); found || err != nil {
		t.Errorf("%s: Get(%s) = %v, %v", f.ID(), k, found, err)
	}
}

// openFiles counts the generations below dir that the process has mapped and
// open.
func openFiles(t *testing.T, dir string) (maps, fds int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	maps = strings.Count(string(text), dir)
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			fds++
		}
	}
	return maps, fds
}

func live(id generation.ID) reader.Event   { return reader.Event{Kind: reader.EventLive, ID: id} }
func closed(id generation.ID) reader.Event { return reader.Event{Kind: reader.EventClosed, ID: id} }
func refused(id generation.ID, err error) reader.Event {
	return reader.Event{Kind: reader.EventRefused, ID: id, Err: err}
}
func fault(id generation.ID) reader.Event {
	return reader.Event{Kind: reader.EventFault, ID: id, Err: reader.ErrFault}
}

func TestStore(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.poll()
	s.want()
	s.wantLive(0)

	path := s.publish(5)
	s.poll()
	s.want(live(5))
	s.wantLive(5)

	s.publish(4) // older than what is live
	s.poll()
	s.want()
	s.wantLive(5)

	s.publish(6)
	s.publish(7)
	s.poll() // passes over 6
	s.want(live(7), closed(5))
	s.wantLive(7)

	if maps, fds := openFiles(t, path); maps != 0 || fds != 0 {
		t.Errorf("%d mappings and %d descriptors of a retired file", maps, fds)
	}
	if maps, _ := openFiles(t, s.dir); maps != 1 {
		t.Errorf("%d mappings, want 1", maps)
	}
}

func TestStoreWithoutDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s := reader.NewStore(dir, reader.StoreOptions{})
	if err := s.Poll(t.Context()); err != nil || s.Acquire(0) != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	publish(t, dir, 1, keysOf(1))
	if err := s.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := s.Acquire(0)
	checkGeneration(t, f)
	s.Release(f, 0)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSwapUnderReaders publishes generations while goroutines look up, and
// checks that each request sees one generation, whole.
func TestSwapUnderReaders(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			const last = 50
			s.publish(1)
			s.poll()
			var wg sync.WaitGroup
			for slot := range uint64(8) {
				wg.Go(func() {
					for seen := generation.ID(0); seen < last; {
						f := s.Acquire(slot * 21)
						if f.ID() < seen {
							t.Errorf("%s behind %s", f.ID(), seen)
						}
						seen = f.ID()
						for range 20 {
							checkGeneration(t, f)
						}
						s.Release(f, slot*21)
						runtime.Gosched() // as a server does between requests
					}
				})
			}
			for id := generation.ID(2); id <= last; id++ {
				s.publish(id)
				s.poll()
			}
			wg.Wait()
			// Lives and closes of all but the last, in any order.
			for range last + last - 1 {
				if e := <-s.events; e.Err != nil {
					t.Errorf("event %+v", e)
				}
			}
			s.want()
			wantMaps, wantFDs := 1, 1
			if access == reader.AccessPread {
				wantMaps, wantFDs = 0, 2 // one to look up, one to read in sequence
			}
			if maps, fds := openFiles(t, s.dir); maps != wantMaps || fds != wantFDs {
				t.Errorf("%d mappings and %d descriptors, want %d and %d", maps, fds, wantMaps, wantFDs)
			}
		})
	}
}

func TestBadNewest(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	s.want(live(1))

	bad := s.publish(9)
	gentest.Overwrite(t, bad, format.HeaderLen+100, []byte{0xFF})
	for range 3 { // said once
		s.poll()
	}
	s.want(refused(9, format.ErrChecksum))
	s.wantLive(1)

	s.publish(5) // newer than what is live, older than the bad one
	s.poll()
	s.want(live(5), closed(1))

	s.publish(9) // replaces the bad one
	s.poll()
	s.want(live(9), closed(5))
	s.wantLive(9)
}

func TestBadNewestAtStart(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	if err := os.Truncate(s.publish(3), 5000); err != nil {
		t.Fatal(err)
	}
	s.poll()
	s.want(refused(3, format.ErrTruncated), live(2))
	s.wantLive(2)
}

func TestRefused(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	// A file under the name of another generation, and one of several shards.
	if err := os.Rename(s.publish(1), gentest.Path(s.dir, 2)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(s.publish(3), filepath.Join(s.dir, generation.Name{ID: 3, Shard: 1, Shards: 2}.String())); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(gentest.Path(s.dir, 4), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", gentest.Path(s.dir, 5)); err != nil {
		t.Fatal(err)
	}
	s.poll()
	s.poll()
	s.want(refused(3, generation.ErrIncomplete), refused(2, generation.ErrMisnamed))
	s.wantLive(0)
}

func TestIndexOnly(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{IndexOnly: true})
	gentest.Overwrite(t, s.publish(1), format.HeaderLen+100, []byte{0xFF})
	s.poll()
	s.want(live(1))
	s.wantLive(1)
}

func TestDeletedLive(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	path := s.publish(2)
	s.poll()
	s.want(live(2))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s.poll()
	s.want()
	s.wantLive(2)
	s.publish(3)
	s.poll()
	s.want(live(3), closed(2))
}

// TestFault cuts the live file; a lookup finds out.
func TestFault(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			s.publish(1)
			path := s.publish(2)
			s.poll()
			s.want(live(2))
			f, other := s.Acquire(7), s.Acquire(8)
			if err := os.Truncate(path, format.HeaderLen); err != nil {
				t.Fatal(err)
			}
			for range 2 { // a second lookup has nothing to add
				_, _, err := f.Get(keysOf(2)[3])
				if !errors.Is(err, reader.ErrFault) {
					t.Fatalf("Get: %v", err)
				}
				s.Fault(f, err)
			}
			s.want(fault(2))
			s.wantLive(0)
			s.Release(f, 7)
			s.poll()
			s.poll()
			s.want(refused(2, format.ErrTruncated), live(1))
			s.wantLive(1)
			s.Release(other, 8)
			s.want(closed(2))

			s.publish(2)
			s.poll()
			s.want(live(2), closed(1))
			s.wantLive(2)
		})
	}
}

// TestCutLive cuts the live file within the last page, where no lookup would
// fault. Poll finds out.
func TestCutLive(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	s.poll()
	s.want(live(1))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-1); err != nil {
		t.Fatal(err)
	}
	f := s.Acquire(1)
	s.poll()
	s.want(fault(1), refused(1, format.ErrTruncated))
	s.Release(f, 1)
	s.want(closed(1))
	s.wantLive(0)
}

// TestOverwrittenLive overwrites the live file with another generation of the
// same size, as cp and rsync --inplace do. Every answer from then on must be
// right: those of the fences of the old content and the blocks of the new one
// would not be.
func TestOverwrittenLive(t *testing.T) {
	for _, access := range accesses {
		s := newTestStore(t, reader.StoreOptions{Access: access})
		path := s.publish(1)
		other := filepath.Join(t.TempDir(), "other")
		keys := makeKeys("v4", len(keysOf(1)), 0)
		writeFile(t, other, 1, keys)
		content, err := os.ReadFile(other)
		if err != nil {
			t.Fatal(err)
		}
		s.poll()
		s.want(live(1))
		gentest.Overwrite(t, path, 0, content)
		setTime(t, path, time.Now().Add(time.Second)) // a clock ticks every 4 ms
		f := s.Acquire(1)
		s.poll()
		s.want(fault(1), live(1))
		s.Release(f, 1)
		s.want(closed(1))
		f = s.Acquire(1)
		if r, found, err := f.Get(keys[500]); r != recordOf(keys[500]) || !found || err != nil {
			t.Errorf("%v: Get = %x, %v, %v", access, r, found, err)
		}
		s.Release(f, 1)

		// Damage keeps it out until it is repaired.
		gentest.Overwrite(t, path, format.HeaderLen+700*format.RecordLen, []byte("damage"))
		setTime(t, path, time.Now().Add(2*time.Second))
		f = s.Acquire(1)
		s.poll()
		s.poll()
		s.want(fault(1), refused(1, format.ErrChecksum))
		s.Release(f, 1)
		s.want(closed(1))
	}
}

// TestLinkedLive changes the ctime of the live file, which is no reason to
// doubt it.
func TestLinkedLive(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	s.poll()
	s.want(live(1))
	if err := errors.Join(os.Link(path, filepath.Join(s.dir, "link")), os.Chmod(path, 0o400)); err != nil {
		t.Fatal(err)
	}
	s.poll()
	s.want()
	s.wantLive(1)
}

// TestRepaired repairs a refused file in such a way that size, mtime and inode
// are what they were, as rsync -t --inplace does.
func TestRepaired(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	mtime := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	gentest.Overwrite(t, path, format.HeaderLen+700*format.RecordLen, []byte("damage"))
	setTime(t, path, mtime)
	before := changeTime(t, path)
	s.poll()
	s.want(refused(1, format.ErrChecksum))
	gentest.Overwrite(t, path, 0, good)
	for setTime(t, path, mtime); changeTime(t, path) == before; setTime(t, path, mtime) {
		// until the clock of the file system ticks
	}
	s.poll()
	s.want(live(1))
}

func setTime(t *testing.T, path string, mtime time.Time) {
	t.Helper()
	if err := os.Chtimes(path, mtime, mtime); err != nil {
		t.Fatal(err)
	}
}

func changeTime(t *testing.T, path string) unix.Timespec {
	t.Helper()
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return stat.Ctim
}

// TestNotRegular gives the name of the newest generation to what is no file.
// To open a pipe that nobody writes to must not wait.
func TestNotRegular(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	path := s.publish(2)
	if err := errors.Join(os.Remove(path), unix.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	s.poll()
	s.poll()
	s.want(refused(2, fsx.ErrNotRegular), live(1))
	s.wantLive(1)
}

// TestWarm wants every page of a mapping that goes live to be in the page
// table, and no fault to get out of what does it.
func TestWarm(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{Access: reader.AccessMmap})
	path := publish(t, s.dir, 1, makeKeys("v4", 100_000, 0))
	s.poll()
	s.want(live(1))
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := residentBytes(t, path); got < info.Size() {
		t.Errorf("%d of %d bytes are in the page table", got, info.Size())
	}

	f, err := reader.Open(path, reader.AccessMmap)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reader.Warm(ctx, f); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := os.Truncate(path, format.HeaderLen); err != nil {
		t.Fatal(err)
	}
	if err := reader.Warm(t.Context(), f); !errors.Is(err, reader.ErrFault) {
		t.Errorf("cut: %v, want %v", err, reader.ErrFault)
	}
}

// residentBytes is how much of the only mapping of path is in the page table.
func residentBytes(t *testing.T, path string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	_, of, found := strings.Cut(string(text), path)
	_, rss, _ := strings.Cut(of, "\nRss:")
	var kilobytes int64
	if n, err := fmt.Sscan(rss, &kilobytes); !found || n != 1 {
		t.Fatalf("mapping of %s: %v", path, err)
	}
	return kilobytes << 10
}

func TestRun(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	ctx, cancel := context.WithCancel(t.Context())
	nudge := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx, time.Hour, nudge)
	}()
	s.want(live(1))
	path := s.publish(2)
	nudge <- struct{}{}
	s.want(live(2), closed(1))
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	f := s.Acquire(0)
	_, _, err := f.Get(keysOf(2)[3])
	s.Fault(f, err) // wakes Run
	s.want(fault(2), refused(2, format.ErrFormat), live(1))
	s.Release(f, 0)
	s.want(closed(2))

	if err := os.Rename(s.dir, s.dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	nudge <- struct{}{}
	nudge <- struct{}{}
	s.want(reader.Event{Kind: reader.EventDirUnreadable, Err: unix.ENOTDIR})
	if err := errors.Join(os.Remove(s.dir), os.Rename(s.dir+".away", s.dir)); err != nil {
		t.Fatal(err)
	}
	close(nudge)
	cancel()
	<-done
}

// TestRunPolls leaves it to the interval.
func TestRunPolls(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx, time.Millisecond, nil)
	}()
	s.publish(1)
	s.want(live(1))
	cancel()
	<-done
}

// TestPollCancelled ends a verification. The file is not to blame.
func TestPollCancelled(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Poll(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Poll: %v", err)
	}
	s.want()
	s.poll()
	s.want(live(1))
}

// TestOutOfDescriptors is short of a descriptor for a while: one will do to list
// the directory, but not to open a file, which takes two.
func TestOutOfDescriptors(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			s.publish(1)
			null, err := os.Open(os.DevNull)
			if err != nil {
				t.Fatal(err)
			}
			next := null.Fd()
			null.Close()
			var before unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
				t.Fatal(err)
			}
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next) + 1, Max: before.Max}); err != nil {
				t.Fatal(err)
			}
			err1, err2 := s.Poll(t.Context()), s.Poll(t.Context())
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			s.want(refused(1, unix.EMFILE)) // said once, but tried again
			s.poll()
			s.want(live(1))
		})
	}
}

func TestCloseWaits(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	f := s.Acquire(3)
	done := make(chan error)
	go func() { done <- s.Close() }()
	for g := s.Acquire(4); g != nil; g = s.Acquire(4) {
		s.Release(g, 4)
	}
	checkGeneration(t, f) // open until it is released
	s.Release(f, 3)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	s.want(live(1), closed(1))
	if err := s.Poll(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Poll: %v", err)
	}
	s.wantLive(0)
}

func TestReleaseTwice(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.poll()
	f := s.Acquire(0)
	s.Release(f, 0)
	defer func() {
		if v := fmt.Sprint(recover()); !strings.HasPrefix(v, "BUG: ") {
			t.Errorf("panic %v", v)
		}
		s.Acquire(0) // evens the count
	}()
	s.Release(f, 0)
}

func TestAllocs(t *testing.T) {
	for _, access := range accesses {
		s := newTestStore(t, reader.StoreOptions{Access: access})
		s.publish(1)
		s.poll()
		keys, absent := keysOf(1), keysOf(2)
		i := 0
		n := testing.AllocsPerRun(1000, func() {
			f := s.Acquire(5)
			_, _, _ = f.Get(keys[i])
			_, _, _ = f.Get(absent[i])
			s.Release(f, 5)
			i = (i + 1) % len(keys)
		})
		// The race detector makes sync.Pool drop buffers now and then.
		if n != 0 && !raceEnabled {
			t.Errorf("%v: %v allocations a request", access, n)
		}
	}
}

// TestFaultsAtOnce reports the same fault from many readers: whoever is first,
// the generation is closed when the last has left.
func TestFaultsAtOnce(t *testing.T) {
	const readers = 8
	s := newTestStore(t, reader.StoreOptions{Access: reader.AccessPread, IndexOnly: true})
	for id := generation.ID(1); id <= 300; id++ {
		path := s.publish(id)
		s.poll()
		s.want(live(id))
		var ready, done sync.WaitGroup
		ready.Add(readers)
		for i := range uint64(readers) {
			done.Go(func() {
				f := s.Acquire(i)
				ready.Done()
				ready.Wait()
				s.Fault(f, reader.ErrFault)
				s.Release(f, i)
			})
		}
		done.Wait()
		s.want(fault(id), closed(id))
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTouched gives the live file another time: it is verified again, and goes
// on serving.
func TestTouched(t *testing.T) {
	dir := t.TempDir()
	keys := makeKeys("v4", 1000, 0)
	path := filepath.Join(dir, generation.Name{ID: 1, Shards: 1}.String())
	writeFile(t, path, 1, keys)
	var events []reader.EventKind
	s := reader.NewStore(dir, reader.StoreOptions{Notify: func(e reader.Event) { events = append(events, e.Kind) }})
	defer s.Close()
	for range 3 {
		if err := s.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		f := s.Acquire(1)
		if f == nil {
			t.Fatal("nothing is live")
		}
		if r, found, err := f.Get(keys[7]); !found || err != nil || r != recordOf(keys[7]) {
			t.Errorf("Get gives %x, %v, %v", r, found, err)
		}
		s.Release(f, 1)
		setTime(t, path, time.Now().Add(time.Hour))
	}
	if !slices.Equal(events, []reader.EventKind{reader.EventLive}) {
		t.Errorf("events %v, want one", events)
	}
}
