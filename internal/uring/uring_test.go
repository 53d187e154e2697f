package uring

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const blockLen = 4096

// kernelSupported reports whether the kernel supports io_uring, without the help
// of New.
func kernelSupported(t *testing.T) bool {
	t.Helper()
	var p params
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		t.Logf("io_uring is not available: %v", errno)
		return false
	}
	if err := unix.Close(int(fd)); err != nil {
		t.Fatal(err)
	}
	return p.features&featCurPos != 0
}

// newTestRing returns a ring, or skips the test where the kernel has none, and a
// file of some blocks.
func newTestRing(t *testing.T, blocks int) (r *Ring, fd int, content []byte) {
	t.Helper()
	content = make([]byte, blocks*blockLen)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err = New()
	if supported := kernelSupported(t); (err == nil) != supported {
		t.Fatalf("New: %v; the kernel supports io_uring: %t", err, supported)
	}
	if err != nil {
		t.Skip("io_uring is not available")
	}
	return r, int(f.Fd()), content
}

func closeRing(t *testing.T, r *Ring) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func TestRead(t *testing.T) {
	const blocks = 64
	r, fd, content := newTestRing(t, blocks)
	var wg sync.WaitGroup
	for i := range 2 * Len { // more than there are slots
		wg.Go(func() {
			rng, buf := rand.New(rand.NewPCG(uint64(i), 0)), make([]byte, blockLen)
			for range 50 {
				off := rng.Int64N(blocks) * blockLen
				if r.Read(fd, buf, off) && !bytes.Equal(buf, content[off:off+blockLen]) {
					t.Errorf("block at %d differs", off)
				}
			}
		})
	}
	wg.Wait()
	if r.Completed() == 0 || !r.Usable() {
		t.Errorf("%d reads completed, usable: %t", r.Completed(), r.Usable())
	}
	for name, ok := range map[string]bool{
		"past the end":     r.Read(fd, make([]byte, blockLen), int64(len(content))),
		"across the end":   r.Read(fd, make([]byte, blockLen), int64(len(content))-1),
		"of no descriptor": r.Read(-1, make([]byte, blockLen), 0),
	} {
		if ok {
			t.Errorf("a read %s succeeded", name)
		}
	}
	if short := make([]byte, 100); !r.Read(fd, short, 50) || !bytes.Equal(short, content[50:150]) {
		t.Error("a read of 100 bytes failed")
	}
	closeRing(t, r)
}

// TestReadWaitsForSlot reads while all slots are taken.
func TestReadWaitsForSlot(t *testing.T) {
	r, fd, _ := newTestRing(t, 1)
	var slots []uint32
	for range Len {
		slots = append(slots, <-r.free)
	}
	result := make(chan bool)
	go func() { result <- r.Read(fd, make([]byte, blockLen), 0) }()
	runtime.Gosched()
	if r.tail != 0 {
		t.Error("a read began while all slots were taken")
	}
	for _, slot := range slots {
		r.free <- slot
	}
	if !<-result {
		t.Error("Read is false after a slot was freed")
	}
	closeRing(t, r)
}

// TestReadRejected makes the kernel reject reads for a while. Reads return
// false; the ring is tried again, but not for every read.
func TestReadRejected(t *testing.T) {
	for _, goroutines := range []int{1, 2 * Len} {
		r, fd, content := newTestRing(t, 1)
		r.pause = time.Hour // until the test ends it
		reads := func(times int, want bool) {
			t.Helper()
			var wg sync.WaitGroup
			for range goroutines {
				wg.Go(func() {
					buf := make([]byte, blockLen)
					for range times {
						if got := r.Read(fd, buf, 0); got && !bytes.Equal(buf, content) || got != want && goroutines == 1 {
							t.Errorf("%d goroutines: Read is %t, want %t", goroutines, got, want)
						}
					}
				})
			}
			wg.Wait()
		}
		reject := func(uint32) (uint32, error) { return 0, unix.ENOMEM }
		reads(2*Len, true)
		if n := r.Completed(); n == 0 || !r.Usable() {
			t.Errorf("%d goroutines: %d reads completed, usable: %t", goroutines, n, r.Usable())
		}
		if goroutines == 1 {
			r.enter = reject
			reads(maxRejections-1, false)
			r.enter = r.enterKernel
			reads(1, true)
		}
		r.submitters.Wait()
		r.enter = reject
		reads(2*maxRejections, false)
		r.submitters.Wait()
		r.enter = r.enterKernel
		if r.Usable() || r.Read(fd, make([]byte, blockLen), 0) {
			t.Errorf("%d goroutines: the ring is used after %d rejections", goroutines, maxRejections)
		}
		r.pausedUntil.Store(time.Now().UnixNano()) // the pause ends
		if !r.Usable() || !r.Read(fd, make([]byte, blockLen), 0) || !r.Usable() || r.pausedUntil.Load() != 0 {
			t.Errorf("%d goroutines: the ring is not used after the pause", goroutines)
		}
		closeRing(t, r)
	}
}

// TestReadSubmitsForOthersBriefly adds a read during each system call of
// another. The first Read must return although submissions do not end.
func TestReadSubmitsForOthersBriefly(t *testing.T) {
	r, fd, _ := newTestRing(t, 1)
	const reads = 10 * maxEnters
	var readers sync.WaitGroup
	read := func() {
		if !r.Read(fd, make([]byte, blockLen), 0) {
			t.Error("Read is false")
		}
	}
	tail := func() uint32 {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.tail
	}
	calls, returned := 0, make(chan struct{})
	r.enter = func(n uint32) (uint32, error) {
		switch calls++; {
		case calls < reads: // add another read before this call ends
			before := tail()
			readers.Go(read)
			for tail() == before {
				runtime.Gosched()
			}
		case calls == reads:
			<-returned // otherwise the test hangs
		}
		return r.enterKernel(n)
	}
	read()
	close(returned)
	readers.Wait()
	closeRing(t, r)
	if calls < reads {
		t.Errorf("%d system calls, want at least %d", calls, reads)
	}
}

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

func TestCloseWithoutReads(t *testing.T) {
	for range 100 {
		if r, err := New(); err == nil {
			closeRing(t, r)
		}
	}
}

// forbiddenEnv names the system call that a child process of TestForbidden may
// not make.
const forbiddenEnv = "PROMO_TEST_FORBIDDEN"

// TestForbidden forbids io_uring like the profiles of containers. New returns an
// error.
func TestForbidden(t *testing.T) {
	calls := map[string]uint32{"io_uring_setup": unix.SYS_IO_URING_SETUP, "io_uring_enter": unix.SYS_IO_URING_ENTER}
	if call, ok := calls[os.Getenv(forbiddenEnv)]; ok {
		forbid(t, call)
		if _, err := New(); err == nil {
			t.Error("New succeeded")
		}
		return
	}
	for name := range calls {
		t.Run(name, func(t *testing.T) {
			c := exec.Command(os.Args[0], "-test.run=^TestForbidden$", "-test.v")
			c.Env = append(os.Environ(), forbiddenEnv+"="+name)
			if out, err := c.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS: TestForbidden")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// forbid makes the system call fail with EPERM in this process from now on.
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
