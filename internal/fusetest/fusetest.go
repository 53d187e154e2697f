//go:build system

// Package fusetest mounts a directory through FUSE, or a disk that is a file of
// such a directory, whose reads can be delayed or made to fail, for tests. It
// needs root.
//
// The file system runs in a process of its own: a test that waited for a page
// fault of a mapping could not serve it.
package fusetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// env has the backing directory, the mount point and the control file, separated
// by colons. If it is set, the process is the file system.
const env = "PROMO_TEST_FUSE"

func init() {
	if paths := strings.Split(os.Getenv(env), ":"); len(paths) == 3 {
		if err := serve(paths[0], paths[1], paths[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

// A Mount is a mounted directory.
type Mount struct {
	Backing string // its files without the faults
	Dir     string // the mount point

	t       testing.TB
	control string
}

// New mounts an empty directory until the test ends.
func New(t testing.TB) *Mount {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	base := t.TempDir()
	m := &Mount{Backing: filepath.Join(base, "backing"), Dir: filepath.Join(base, "mount"), t: t, control: filepath.Join(base, "control")}
	for _, dir := range []string{m.Backing, m.Dir} {
		m.must(os.Mkdir(dir, 0o755))
	}
	m.must(os.WriteFile(m.control, nil, 0o600))
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), env+"="+m.Backing+":"+m.Dir+":"+m.control)
	in, err := c.StdinPipe()
	m.must(err)
	out, err := c.StdoutPipe()
	m.must(err)
	m.must(c.Start())
	t.Cleanup(func() {
		m.Heal()
		in.Close() // the process unmounts and ends
		if err := c.Wait(); err != nil {
			t.Errorf("file system: %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "mounted\n" {
		t.Fatalf("mount: %q, %v", line, err)
	}
	return m
}

// NewDisk makes a disk with an ext4 file system, in which fill writes files, and
// mounts it read-only at dir until the test ends. Unlike a FUSE file system, it
// can read without waiting, and reads through io_uring wait without a thread.
// The offsets of Fail and Hang count from the start of the disk.
func NewDisk(t testing.TB, size int64, fill func(dir string)) (m *Mount, dir string) {
	t.Helper()
	m = New(t)
	const name = "disk"
	image := filepath.Join(m.Backing, name)
	f, err := os.Create(image)
	m.must(err)
	m.must(errors.Join(f.Truncate(size), f.Close()))
	m.run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,nodiscard", "-O", "^has_journal", image)
	dir = filepath.Join(filepath.Dir(m.Dir), name)
	m.must(os.Mkdir(dir, 0o755))
	m.run("mount", "-o", "loop", image, dir)
	fill(dir)
	m.run("umount", dir)
	// Direct reads, because a page cache of the disk itself would serve reads
	// while the disk hangs.
	device := m.run("losetup", "--find", "--show", "--read-only", "--direct-io=on", filepath.Join(m.Dir, name))
	t.Cleanup(func() {
		m.Heal()
		m.run("umount", dir)
		m.run("losetup", "--detach", device)
	})
	m.run("mount", "-o", "ro", device, dir)
	return m, dir
}

// run runs a command and returns its output.
func (m *Mount) run(name string, args ...string) string {
	m.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// Fail makes reads of uncached pages at or after offset off fail with errno.
func (m *Mount) Fail(errno syscall.Errno, off int64) { m.set(fmt.Sprintf("%d %d", int(errno), off)) }

// Hang makes reads of uncached pages at or after offset off wait until Heal.
func (m *Mount) Hang(off int64) { m.set(fmt.Sprintf("-1 %d", off)) }

// Heal ends Fail and Hang.
func (m *Mount) Heal() { m.set("") }

func (m *Mount) set(text string) {
	m.t.Helper()
	next := m.control + ".new"
	m.must(os.WriteFile(next, []byte(text), 0o600))
	m.must(os.Rename(next, m.control))
}

func (m *Mount) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// WrapChild makes the files of a directory nodes of this type, too.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, control: n.control}
}

// serve mounts backing at dir until standard input ends.
func serve(backing, dir, control string) error {
	root := &fs.LoopbackRoot{Path: backing}
	root.RootNode = &node{LoopbackNode: fs.LoopbackNode{RootData: root}, control: control}
	opts := &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "faults", AllowOther: true, MaxBackground: 4096}}
	if _, err := fs.Mount(dir, root.RootNode, opts); err != nil {
		return err
	}
	fmt.Println("mounted")
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
	return syscall.Unmount(dir, syscall.MNT_DETACH)
}

// A node is a file or directory of the backing directory.
type node struct {
	fs.LoopbackNode
	control string
}

func (n *node) Open(_ context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	path := filepath.Join(n.RootData.Path, n.Path(n.Root()))
	f, err := os.OpenFile(path, int(flags)&syscall.O_ACCMODE, 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return &handle{f, n.control}, fuse.FOPEN_KEEP_CACHE, 0
}

// A handle is an open file. It must not offer passthrough, which goes past Read.
type handle struct {
	file    *os.File
	control string
}

func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	for {
		text, err := os.ReadFile(h.control)
		if err != nil {
			break // the test has ended
		}
		code, from, found := strings.Cut(string(text), " ")
		errno, _ := strconv.Atoi(code)
		first, _ := strconv.ParseInt(from, 10, 64)
		if !found || off+int64(len(dest)) <= first {
			break
		}
		if errno > 0 {
			return nil, syscall.Errno(errno)
		}
		time.Sleep(2 * time.Millisecond) // of the file system, not of the test
	}
	return fuse.ReadResultFd(h.file.Fd(), off, len(dest)), 0
}

func (h *handle) Release(context.Context) syscall.Errno { return fs.ToErrno(h.file.Close()) }
