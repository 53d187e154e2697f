package generation_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"

	"golang.org/x/sys/unix"
)

// The environment of a child process that killAfter traces: an act and its
// directory.
const actEnv, actDirEnv = "PROMO_TEST_ACT", "PROMO_TEST_DIR"

// acts are what a child process does in a directory. It is killed after a change of
// the directory that follows ready.
var acts = map[string]func(dir string, ready func()) error{
	"publish": func(dir string, ready func()) error {
		w, err := generation.OpenWriter(dir)
		if err != nil {
			return err
		}
		p, err := w.Create(generation.IDOf(now), sixteen)
		if err != nil {
			return err
		}
		for shard := range 16 {
			if _, err := fmt.Fprint(p.File(shard), shard); err != nil {
				return err
			}
		}
		p.Summary = &generation.Summary{Source: generation.SourceInbox, Rows: 16, Records: 16}
		ready()
		return p.Publish()
	},
	"prune": func(dir string, ready func()) error {
		w, err := generation.OpenWriter(dir)
		if err != nil {
			return err
		}
		ready()
		_, err = w.Prune(context.Background(), generation.PruneOptions{Keep: 1, Check: func(generation.Generation) error { return nil }})
		return err
	},
	"open": func(dir string, ready func()) error {
		ready()
		_, err := generation.OpenWriter(dir)
		return err
	},
}

var sixteen = format.Sharding{Rule: format.ShardLast, Shards: 16}

// init is the child process. The runtime runs it on the first thread, the only one
// that the parent traces.
func init() {
	act := acts[os.Getenv(actEnv)]
	if act == nil {
		return
	}
	err := act(os.Getenv(actDirEnv), func() { _ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGUSR1) })
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	os.Exit(0)
}

// killAfter runs an act in a child process and kills it after n changes of the
// names in dir that follow ready. It returns false if the process ended before, and
// its exit status.
func killAfter(t *testing.T, n int, act, dir string) (killed bool, status int) {
	t.Helper()
	runtime.LockOSThread() // a thread traces, not a process
	defer runtime.UnlockOSThread()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), actEnv+"="+act, actDirEnv+"="+dir)
	child.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	gentest.Must(t, child.Start())
	pid := child.Process.Pid
	wait := func() (ws syscall.WaitStatus) {
		for {
			_, err := syscall.Wait4(pid, &ws, unix.WALL, nil)
			if !errors.Is(err, syscall.EINTR) {
				gentest.Must(t, err)
				return ws
			}
		}
	}
	wait() // for the start of the program
	gentest.Must(t, syscall.PtraceSetOptions(pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_EXITKILL))
	resume := syscall.PtraceCont
	var last []string
	for changes, sig := 0, 0; ; {
		gentest.Must(t, resume(pid, sig))
		sig = 0
		switch ws := wait(); {
		case ws.Exited():
			return false, ws.ExitStatus()
		case ws.Signaled():
			t.Fatalf("%s: %v", act, ws.Signal())
		case ws.StopSignal() == unix.SIGUSR1: // ready
			resume = syscall.PtraceSyscall
			last = namesIn(t, dir)
		case ws.StopSignal() == unix.SIGTRAP|0x80: // before or after a system call
			if names := namesIn(t, dir); !slices.Equal(names, last) {
				changes, last = changes+1, names
			}
			if changes == n {
				gentest.Must(t, syscall.Kill(pid, unix.SIGKILL))
				for !wait().Signaled() {
				}
				return true, 0
			}
		default: // from the runtime of Go
			sig = int(ws.StopSignal())
		}
	}
}

// namesIn returns the names in dir.
func namesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	gentest.Must(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// killEverywhere runs an act in directories that plant returns. It kills it before
// its first change of the directory, in the next directory after one, and so on
// until the act ends. It calls check with each directory.
func killEverywhere(t *testing.T, act string, plant func() (dir string), check func(dir string, n int)) {
	t.Helper()
	t.Parallel()
	for n := 0; ; n++ {
		dir := plant()
		killed, status := killAfter(t, n, act, dir)
		check(dir, n)
		gentest.Must(t, os.RemoveAll(dir))
		if t.Failed() {
			t.FailNow()
		}
		if killed {
			continue
		}
		if status != 0 && status != 3 {
			t.Fatalf("exit status %d", status)
		}
		if n == 0 {
			t.Error("the act does not change the directory")
		}
		return
	}
}

// complete returns the complete generations that List shows, and fails if it shows
// an incomplete one.
func complete(t *testing.T, dir string) (ids []generation.ID) {
	t.Helper()
	list, err := generation.List(dir)
	gentest.Must(t, err)
	for _, g := range list {
		if !g.Complete() {
			t.Errorf("List shows a generation without its shards %v", g.MissingOf(generation.AllDigits))
		}
		ids = append(ids, g.ID)
	}
	return ids
}

// shardNames returns the names of the files of a generation of 16 shards.
func shardNames(id generation.ID) (names []string) {
	for shard := range 16 {
		names = append(names, generation.Name{ID: id, Shard: shard, Shards: 16}.String())
	}
	return names
}

// TestPublishKilled checks that all files of a set are published or none, wherever
// the process is killed.
func TestPublishKilled(t *testing.T) {
	const old = generation.ID(1)
	id := generation.IDOf(now)
	seen := map[bool]bool{}
	killEverywhere(t, "publish", func() string {
		dir := filepath.Join(t.TempDir(), "data")
		gentest.Must(t, os.Mkdir(dir, 0o755))
		touch(t, dir, generation.Name{ID: old, Shards: 1}.String())
		return dir
	}, func(dir string, n int) {
		ids := complete(t, dir)
		published := slices.Contains(ids, id)
		if !published && !slices.Equal(ids, []generation.ID{old}) {
			t.Errorf("killed after change %d: generations %v", n, ids)
		}
		openWriter(t, dir).Close()
		want := []string{generation.Name{ID: old, Shards: 1}.String()}
		if published {
			want = append(want, shardNames(id)...)
			if s, err := generation.ReadSummary(dir, id); err != nil || s.Records != 16 {
				t.Errorf("killed after change %d: summary %+v, %v", n, s, err)
			}
			wantNames(t, dir, append([]string{generation.SummaryName(id)}, want...)...)
		} else {
			wantNames(t, dir, want...)
		}
		for shard, name := range want[1:] {
			if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != fmt.Sprint(shard) {
				t.Errorf("killed after change %d: content of shard %d: %q, %v", n, shard, got, err)
			}
		}
		seen[published] = true
	})
	if !seen[true] || !seen[false] {
		t.Errorf("published before the end: %v, want both", seen)
	}
}

// TestFailedPublishKilled kills a process that withdraws a set, because a directory
// has the name of its shard 9.
func TestFailedPublishKilled(t *testing.T) {
	id := generation.IDOf(now)
	obstacle := shardNames(id)[9]
	killEverywhere(t, "publish", func() string {
		dir := filepath.Join(t.TempDir(), "data")
		gentest.Must(t, os.MkdirAll(filepath.Join(dir, obstacle), 0o755))
		return dir
	}, func(dir string, n int) {
		if ids := complete(t, dir); len(ids) > 0 {
			t.Errorf("killed after change %d: generations %v", n, ids)
		}
		openWriter(t, dir).Close()
		wantNames(t, dir, obstacle)
	})
}

// TestSweepKilled kills a process that sweeps what a killed one has left.
func TestSweepKilled(t *testing.T) {
	id := generation.IDOf(now)
	names := shardNames(id)
	marker := "." + names[0] + ".publishing"
	for _, c := range []struct {
		name    string
		renamed int // number of files
		remain  bool
	}{
		{"no file renamed", 0, false},
		{"some files renamed", 7, false},
		{"all files renamed", 16, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			killEverywhere(t, "open", func() string {
				dir := filepath.Join(t.TempDir(), "data")
				gentest.Must(t, os.Mkdir(dir, 0o755))
				touch(t, dir, marker)
				touch(t, dir, names[:c.renamed]...)
				for _, name := range names[c.renamed:] {
					touch(t, dir, "."+name+".tmp")
				}
				return dir
			}, func(dir string, n int) {
				if ids := complete(t, dir); len(ids) > 0 != c.remain {
					t.Errorf("killed after change %d: generations %v", n, ids)
				}
				openWriter(t, dir).Close()
				if c.remain {
					wantNames(t, dir, names...)
				} else {
					wantNames(t, dir)
				}
			})
		})
	}
}

// TestPruneKilledWithSummary checks that no summary remains without its generation, wherever
// Prune is killed.
func TestPruneKilledWithSummary(t *testing.T) {
	const old, newest = generation.ID(1), generation.ID(2)
	kept := []string{generation.Name{ID: newest, Shards: 1}.String(), generation.SummaryName(newest)}
	killEverywhere(t, "prune", func() string {
		dir := filepath.Join(t.TempDir(), "data")
		gentest.Must(t, os.Mkdir(dir, 0o755))
		touch(t, dir, kept...)
		touch(t, dir, append(shardNames(old), generation.SummaryName(old))...)
		return dir
	}, func(dir string, n int) {
		names := namesIn(t, dir)
		files := slices.ContainsFunc(names, func(name string) bool { return slices.Contains(shardNames(old), name) })
		if !slices.Contains(names, generation.SummaryName(old)) && files {
			t.Errorf("killed after change %d: the summary is gone before the files", n)
		}
		w := openWriter(t, dir)
		defer w.Close()
		if there := exists(t, dir, generation.SummaryName(old)); there != files {
			t.Errorf("killed after change %d: files %t, summary %t", n, files, there)
		}
		_, err := w.Prune(t.Context(), generation.PruneOptions{Keep: 1, Check: func(generation.Generation) error { return nil }})
		gentest.Must(t, err)
		wantNames(t, dir, kept...)
	})
}
