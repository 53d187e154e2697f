package reader

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"promostore/format"
)

// kernelHasRings asks the kernel itself, so that a ring that is not used where
// it could be is no success.
func kernelHasRings(t *testing.T) bool {
	t.Helper()
	var p ringParams
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		t.Logf("no io_uring here: %v", errno)
		return false
	}
	if err := unix.Close(int(fd)); err != nil {
		t.Fatal(err)
	}
	return p.features&featCurPos != 0
}

// answers is how many reads the kernel has answered.
func (r *ring) answers() uint32 { return atomic.LoadUint32(r.at(r.cq.tail)) }

// testRing is a ring, nil where the kernel has none, and a file of one block
// that is open as fd.
func testRing(t *testing.T) (r *ring, fd int, content []byte) {
	t.Helper()
	content = bytes.Repeat([]byte{1}, format.BlockLen)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if r = newRing(); (r != nil) != kernelHasRings(t) {
		t.Fatalf("a ring is %v, the kernel has it: %v", r != nil, kernelHasRings(t))
	}
	return r, int(f.Fd()), content
}

// A kernel that takes no reads for a while leaves them to who asked. It is
// asked again, but not for every read.
func TestRingRefused(t *testing.T) {
	for _, goroutines := range []int{1, 2 * ringLen} {
		r, file, content := testRing(t)
		if r == nil {
			return
		}
		r.pause = time.Hour // until the test says that it is over
		reads := func(times int, want bool) {
			t.Helper()
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					buf := new(blockBuffer)
					for range times {
						if got := r.read(file, buf, 0); got && !bytes.Equal(buf[:], content) || got != want && goroutines == 1 {
							t.Errorf("%d goroutines: read is %v, want %v", goroutines, got, want)
						}
					}
				})
			}
			wg.Wait()
		}
		refuse := func(uint32) (uint32, error) { return 0, unix.ENOMEM }
		reads(2*ringLen, true)
		if n := r.answers(); n == 0 || !r.inUse() {
			t.Errorf("%d goroutines: %d answers, in use: %v", goroutines, n, r.inUse())
		}
		if goroutines == 1 {
			r.enter = refuse
			reads(maxRefusals-1, false)
			r.enter = r.enterKernel
			reads(1, true)
		}
		r.handed.Wait()
		r.enter = refuse
		reads(2*maxRefusals, false)
		r.handed.Wait()
		r.enter = r.enterKernel
		if r.inUse() || r.read(file, new(blockBuffer), 0) {
			t.Errorf("%d goroutines: the ring is used after %d refusals", goroutines, maxRefusals)
		}
		r.paused.Store(time.Now().UnixNano()) // it is over
		if !r.inUse() || !r.read(file, new(blockBuffer), 0) || !r.inUse() || r.paused.Load() != 0 {
			t.Errorf("%d goroutines: the ring is not used after the pause", goroutines)
		}
		if err := r.close(); err != nil {
			t.Error(err)
		}
	}
}

// Who tells the kernel is not kept at it by those who come after.
func TestRingHandsOver(t *testing.T) {
	r, file, _ := testRing(t)
	if r == nil {
		return
	}
	const reads = 10 * maxTurns
	var readers sync.WaitGroup
	read := func() {
		if !r.read(file, new(blockBuffer), 0) {
			t.Error("not read")
		}
	}
	calls, told := 0, make(chan struct{})
	r.enter = func(n uint32) (uint32, error) {
		switch calls++; {
		case calls < reads: // somebody adds one before this call is over
			before := r.lastAdded()
			readers.Go(read)
			for r.lastAdded() == before {
				runtime.Gosched()
			}
		case calls == reads:
			<-told // the first has gone, or this is for ever
		}
		return r.enterKernel(n)
	}
	read()
	close(told)
	readers.Wait()
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if calls < reads {
		t.Errorf("%d calls, want %d", calls, reads)
	}
}

func (r *ring) lastAdded() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tail
}

// Answers that were waited for long are handed out over an eighth of that.
func TestSpread(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, 0},
		{time.Millisecond, 0},
		{8*time.Millisecond - 1, 0},
		{8 * time.Millisecond, time.Millisecond},
		{96 * time.Millisecond, 12 * time.Millisecond},
		{time.Minute, maxSpread},
	} {
		if got := spread(c.took); got != c.want {
			t.Errorf("spread(%v) = %v, want %v", c.took, got, c.want)
		}
	}
}

// A ring that nobody has read from, or nobody reads from any more, closes.
func TestRingIdle(t *testing.T) {
	for range 100 {
		if r := newRing(); r != nil {
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// forbidden is the environment variable that makes a process of
// TestRingForbidden one that may not make the system call of that name.
const forbidden = "PROMO_TEST_FORBIDDEN"

// Where io_uring is forbidden, as by the profiles of containers, or has been
// since a ring was made, reads are plain.
func TestRingForbidden(t *testing.T) {
	calls := map[string]uint32{"io_uring_setup": unix.SYS_IO_URING_SETUP, "io_uring_enter": unix.SYS_IO_URING_ENTER}
	if call, ok := calls[os.Getenv(forbidden)]; ok {
		forbid(t, call)
		b, content := coldFile(t)
		readAndClose(t, b, content, false)
		return
	}
	for name := range calls {
		t.Run(name, func(t *testing.T) {
			c := exec.Command(os.Args[0], "-test.run=^TestRingForbidden$", "-test.v")
			c.Env = append(os.Environ(), forbidden+"="+name)
			if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS: TestRingForbidden")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// forbid lets call end with EPERM in this process from now on.
func forbid(t *testing.T, call uint32) {
	t.Helper()
	const failed = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the number of the call
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: call, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: failed},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program))); errno != 0 {
		t.Fatalf("seccomp: %v", errno)
	}
}
