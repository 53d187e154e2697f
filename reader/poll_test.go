package reader_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
	"promostore/reader"
)

// TestPollFindsTruncatedLiveFile truncates the live file within its last page,
// where no lookup would fault.
func TestPollFindsTruncatedLiveFile(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	s.poll()
	s.want(live(1))
	info, err := os.Stat(path)
	gentest.Must(t, err)
	gentest.Must(t, os.Truncate(path, info.Size()-1))
	_, release := s.acquire()
	s.poll()
	s.want(fault(1), refused(1, format.ErrTruncated))
	release()
	s.want(closed(1))
	s.wantLive(0)
}

// A generation from the future is served only until there is another one. It is
// reported once.
func TestPollPrefersPresentToFuture(t *testing.T) {
	future := generation.IDOf(time.Now().Add(48 * time.Hour))
	s := newTestStore(t, reader.StoreOptions{})
	path := publish(t, s.dir, future, keysOf(1))
	s.poll()
	s.want(reader.Event{Kind: reader.EventFuture, ID: future}, live(future))
	s.publish(1)
	s.poll()
	s.want(live(1), closed(future))
	s.wantLive(1)
	s.publish(2)
	s.poll()
	s.want(live(2), closed(1))
	if st := s.Status(); len(st.Ahead) != 1 || st.Ahead[0].Files[0] != path || *st.Newest != 2 {
		t.Errorf("status %+v", st)
	}
	gentest.Must(t, os.Remove(path))
	s.poll()
	s.want()
	if st := s.Status(); len(st.Ahead) != 0 {
		t.Errorf("status %+v", st)
	}
}

// TestPollFindsOverwrittenLiveFile overwrites the live file with other content
// of the same size, like cp and rsync --inplace. The fences in memory no longer
// fit the blocks, so the file must be opened again.
func TestPollFindsOverwrittenLiveFile(t *testing.T) {
	for _, access := range accesses {
		s := newTestStore(t, reader.StoreOptions{Access: access})
		path := s.publish(1)
		other := filepath.Join(t.TempDir(), "other")
		keys := makeKeys("v4", len(keysOf(1)), 0)
		writeKeys(t, other, 1, keys)
		content, err := os.ReadFile(other)
		gentest.Must(t, err)
		s.poll()
		s.want(live(1))
		gentest.Overwrite(t, path, 0, content)
		setTime(t, path, time.Now().Add(time.Second)) // file times have a resolution of 4 ms
		_, release := s.acquire()
		s.poll()
		s.want(fault(1), live(1))
		release()
		s.want(closed(1))
		g, release := s.acquire()
		if r, found, err := g.Get(keys[500]); r != recordOf(keys[500]) || !found || err != nil {
			t.Errorf("%v: Get = %x, %t, %v", access, r, found, err)
		}
		release()

		// A damaged file is refused.
		gentest.Overwrite(t, path, format.HeaderLen+700*format.RecordLen, []byte("damage"))
		setTime(t, path, time.Now().Add(2*time.Second))
		_, release = s.acquire()
		s.poll()
		s.poll()
		s.want(fault(1), refused(1, format.ErrChecksum))
		release()
		s.want(closed(1))
	}
}

// TestPollVerifiesTouchedLiveFile changes the time of the live file, which is
// verified again and remains live.
func TestPollVerifiesTouchedLiveFile(t *testing.T) {
	for _, indexOnly := range []bool{false, true} {
		s := newTestStore(t, reader.StoreOptions{IndexOnly: indexOnly})
		path := s.publish(1)
		s.poll()
		s.want(live(1))
		for i := range 3 {
			setTime(t, path, time.Now().Add(time.Duration(i+1)*time.Hour))
			s.poll()
			s.want()
			s.wantLive(1)
		}
	}
}

// TestPollFindsOverwrittenUnverifiedFile overwrites the live file with another
// of the same size. Its blocks are not verified, but its checksums differ.
func TestPollFindsOverwrittenUnverifiedFile(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{IndexOnly: true})
	path := s.publish(1)
	s.poll()
	s.want(live(1))
	other := filepath.Join(t.TempDir(), "other")
	writeKeys(t, other, 1, makeKeys("v4", len(keysOf(1)), 0))
	content, err := os.ReadFile(other)
	gentest.Must(t, err)
	gentest.Overwrite(t, path, 0, content)
	setTime(t, path, time.Now().Add(time.Hour))
	_, release := s.acquire()
	s.poll()
	s.want(fault(1), live(1))
	release()
	s.want(closed(1))
}

// TestPollIgnoresChangeTimeOfLiveFile changes only the ctime of the live file.
func TestPollIgnoresChangeTimeOfLiveFile(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	s.poll()
	s.want(live(1))
	gentest.Must(t, errors.Join(os.Link(path, filepath.Join(s.dir, "link")), os.Chmod(path, 0o400)))
	s.poll()
	s.want()
	s.wantLive(1)
}

// TestPollFindsRepairedFile repairs a refused file so that its size, time and
// inode remain the same, like rsync -t --inplace.
func TestPollFindsRepairedFile(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	good, err := os.ReadFile(path)
	gentest.Must(t, err)
	modified := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	gentest.Overwrite(t, path, format.HeaderLen+700*format.RecordLen, []byte("damage"))
	setTime(t, path, modified)
	before := changeTime(t, path)
	s.poll()
	s.want(refused(1, format.ErrChecksum))
	gentest.Overwrite(t, path, 0, good)
	for setTime(t, path, modified); changeTime(t, path) == before; setTime(t, path, modified) {
		// Wait for the next tick of the file system's clock.
	}
	s.poll()
	s.want(live(1))
}

// TestPollRefusesPipe gives a pipe the name of the newest generation. Opening it
// must not wait for a writer.
func TestPollRefusesPipe(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	gentest.Must(t, unix.Mkfifo(s.path(2), 0o600))
	s.poll()
	s.poll()
	s.want(refused(2, fsx.ErrNotRegular), live(1))
	s.wantLive(1)
}

// TestPollWarms checks that every page of a live mapping is in the page table.
func TestPollWarms(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{Access: reader.AccessMmap})
	path := publish(t, s.dir, 1, makeKeys("v4", 100_000, 0))
	s.poll()
	s.want(live(1))
	info, err := os.Stat(path)
	gentest.Must(t, err)
	if got := residentBytes(t, path); got < info.Size() {
		t.Errorf("%d of %d bytes are in the page table", got, info.Size())
	}
}

func TestWarmErrors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	writeKeys(t, path, 1, makeKeys("v4", 100_000, 0))
	f := open(t, path, reader.AccessMmap)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := reader.Warm(ctx, f); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	gentest.Must(t, os.Truncate(path, format.HeaderLen))
	if err := reader.Warm(t.Context(), f); !errors.Is(err, reader.ErrFault) {
		t.Errorf("truncated: %v, want %v", err, reader.ErrFault)
	}
}

// residentBytes returns how much of the only mapping of path is in the page
// table.
func residentBytes(t *testing.T, path string) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	gentest.Must(t, err)
	_, mapping, found := strings.Cut(string(text), path)
	_, rss, _ := strings.Cut(mapping, "\nRss:")
	var kilobytes int64
	if n, err := fmt.Sscan(rss, &kilobytes); !found || n != 1 {
		t.Fatalf("mapping of %s: %v", path, err)
	}
	return kilobytes << 10
}

// TestPollCanceled cancels a verification. The file is not refused.
func TestPollCanceled(t *testing.T) {
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

// TestPollRetriesTransientError lets the process run out of descriptors: one is
// enough to list the directory, but opening a file takes two.
func TestPollRetriesTransientError(t *testing.T) {
	for _, access := range accesses {
		t.Run(access.String(), func(t *testing.T) {
			s := newTestStore(t, reader.StoreOptions{Access: access})
			s.publish(1)
			null, err := os.Open(os.DevNull)
			gentest.Must(t, err)
			next := null.Fd()
			null.Close()
			var before unix.Rlimit
			gentest.Must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
			gentest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next) + 1, Max: before.Max}))
			now := time.Now()
			reader.SetClock(s.Store, func() time.Time { return now })
			err1 := s.Poll(t.Context())
			now = now.Add(time.Minute)
			err2 := s.Poll(t.Context())
			gentest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
			gentest.Must(t, errors.Join(err1, err2))
			s.want(refused(1, unix.EMFILE)) // one event, although both polls tried
			if r := s.Status().Refused; len(r) != 1 || !strings.HasSuffix(r[0].Err.Error(), ": too many open files; each shard needs an open file: raise the limit, ulimit -n") {
				t.Errorf("refused %v", r)
			}
			s.poll()
			s.want() // the pause has not ended
			now = now.Add(time.Minute)
			s.poll()
			s.want(live(1))
		})
	}
}

// TestTooManyOpenFilesRefuseOneFile opens a generation of 16 shards with
// descriptors for fewer of them, each time for another number.
func TestTooManyOpenFilesRefuseOneFile(t *testing.T) {
	for _, digits := range []generation.Digits{generation.AllDigits, 0xFF00} {
		s := newTestStore(t, reader.StoreOptions{Digits: digits})
		s.publishShards(1, last16)
		null, err := os.Open(os.DevNull)
		gentest.Must(t, err)
		next := null.Fd()
		null.Close()
		var before unix.Rlimit
		gentest.Must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &before))
		now := time.Now()
		reader.SetClock(s.Store, func() time.Time { return now })
		for i := range 4 {
			gentest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(next) + 6 - uint64(i), Max: before.Max}))
			err := s.Poll(t.Context())
			gentest.Must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &before))
			gentest.Must(t, err)
			if i == 0 {
				s.want(refused(1, unix.EMFILE))
			}
			s.want()
			if st := s.Status(); len(st.Refused) != 1 || !strings.HasSuffix(st.Refused[0].Err.Error(), "; each shard needs an open file: raise the limit, ulimit -n") {
				t.Fatalf("digits %s: refused %v", digits, st.Refused)
			}
			s.poll()
			s.want() // the pause has not ended
			now = now.Add(2 * time.Minute)
		}
		s.poll()
		s.want(live(1))
	}
}

func TestRun(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	ctx, cancel := context.WithCancel(t.Context())
	trigger := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx, time.Hour, trigger)
	}()
	s.want(live(1))
	path := s.publish(2)
	trigger <- struct{}{}
	s.want(live(2), closed(1))

	gentest.Must(t, os.Truncate(path, 0))
	g, release := s.acquire()
	_, _, err := g.Get(keysOf(2)[3])
	s.Fault(g, err) // makes Run poll
	s.want(fault(2), refused(2, format.ErrFormat), live(1))
	release()
	s.want(closed(2))

	// One system call exchanges the directory, because a poll may run meanwhile.
	gentest.Must(t, os.WriteFile(s.dir+".away", nil, 0o644))
	exchange := func() {
		gentest.Must(t, unix.Renameat2(unix.AT_FDCWD, s.dir, unix.AT_FDCWD, s.dir+".away", unix.RENAME_EXCHANGE))
	}
	exchange()
	trigger <- struct{}{}
	trigger <- struct{}{}
	s.want(reader.Event{Kind: reader.EventDirUnreadable, Err: unix.ENOTDIR}) // once
	exchange()
	trigger <- struct{}{}
	s.want(reader.Event{Kind: reader.EventDirReadable})

	gentest.Must(t, errors.Join(os.Remove(path), os.Rename(s.dir, s.dir+".gone")))
	trigger <- struct{}{}
	trigger <- struct{}{}
	s.want(reader.Event{Kind: reader.EventDeleted, ID: 1, Err: fs.ErrNotExist},
		reader.Event{Kind: reader.EventDirUnreadable, Err: generation.DirError(s.dir, fs.ErrNotExist)}) // once
	gentest.Must(t, os.Rename(s.dir+".gone", s.dir))
	trigger <- struct{}{}
	s.want(reader.Event{Kind: reader.EventRestored, ID: 1}, reader.Event{Kind: reader.EventDirReadable})
	close(trigger)
	cancel()
	<-done
}

// TestFaultTellsSizesAndTimes truncates a live file of known times.
func TestFaultTellsSizesAndTimes(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	path := s.publish(1)
	setTime(t, path, time.Date(2026, 11, 26, 10, 0, 0, 123456789, time.UTC))
	info, err := os.Stat(path)
	gentest.Must(t, err)
	s.poll()
	s.want(live(1))
	gentest.Must(t, os.Truncate(path, 5000))
	setTime(t, path, time.Date(2026, 11, 27, 11, 30, 0, 0, time.UTC))
	s.poll()
	e := <-s.events
	want := fmt.Sprintf("when it was opened: %d bytes, modified at 2026-11-26T10:00:00.123Z; ", info.Size()) +
		"now: 5000 bytes, modified at 2026-11-27T11:30:00.000Z, attributes changed at 20"
	if e.Kind != reader.EventFault || !strings.Contains(e.Err.Error(), want) {
		t.Errorf("event %+v, want %q", e, want)
	}
}

// TestRunReportsNoneOnlyAfterRecoveryFails lets the live generation fail while
// the poll that made it live is still running. The next poll recovers.
func TestRunReportsNoneOnlyAfterRecoveryFails(t *testing.T) {
	var s *testStore
	s = newTestStore(t, reader.StoreOptions{Notify: func(e reader.Event) {
		if e.Kind != reader.EventLive || e.ID != 2 {
			return
		}
		g, release := s.acquire()
		gentest.Must(t, os.Truncate(s.path(2), 0))
		go func() {
			s.Fault(g, reader.LookupError(g, reader.ErrFault))
			release()
		}()
		for s.Status().Live != nil {
			runtime.Gosched()
		}
	}})
	s.publish(1)
	s.publish(2)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx, time.Hour, nil)
	}()
	none := 0
	for e := range s.events {
		if e.Kind == reader.EventNone {
			none++
		}
		if e.Kind == reader.EventLive && e.ID == 1 {
			break
		}
	}
	cancel()
	<-done
	if none != 0 {
		t.Errorf("%d events report that no generation is live, want 0", none)
	}
}

// TestPollDuringReplacementOfDirectory puts the directory back in place of a file
// while a poll runs. The poll must not report the pin, which it may have read
// before that. The standby, whose preparation the next replacement may interrupt,
// must not be refused.
func TestPollDuringReplacementOfDirectory(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	s.publish(1)
	s.publish(2)
	gentest.Must(t, os.WriteFile(filepath.Join(s.dir, generation.PinName), []byte(`{"generation":"`+generation.ID(1).String()+`"}`), 0o644))
	s.poll()
	s.want(reader.Event{Kind: reader.EventPinned, ID: 1}, live(1))
	gentest.Must(t, os.WriteFile(s.dir+".away", nil, 0o644))
	exchange := func() error {
		return unix.Renameat2(unix.AT_FDCWD, s.dir, unix.AT_FDCWD, s.dir+".away", unix.RENAME_EXCHANGE)
	}
	for range 300 {
		gentest.Must(t, exchange())
		exchanged := make(chan error)
		go func() { exchanged <- exchange() }()
		err := s.Poll(t.Context())
		gentest.Must(t, <-exchanged)
		if err != nil && !errors.Is(err, unix.ENOTDIR) {
			t.Fatal(err)
		}
		for len(s.events) > 0 {
			// A poll before the exchange sees that the file is gone.
			if e := <-s.events; e.Kind != reader.EventDeleted && e.Kind != reader.EventRestored {
				t.Fatalf("event %+v", e)
			}
		}
	}
}

func TestRunPollsAtInterval(t *testing.T) {
	s := newTestStore(t, reader.StoreOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Run(ctx, time.Millisecond, nil)
	}()
	s.want(reader.Event{Kind: reader.EventNone, Err: generation.ErrEmpty})
	s.publish(1)
	s.want(live(1))
	cancel()
	<-done
}
