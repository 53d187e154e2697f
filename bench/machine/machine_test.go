package machine

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDescribe(t *testing.T) {
	m, err := Describe(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if m.CPU == "" || m.Cores < 1 || m.MemoryBytes < 1<<27 || m.Kernel == "" || !strings.HasPrefix(m.Go, "go") || m.Commit == "" ||
		time.Since(m.Date) > time.Hour || m.SeqReadBytesPerSec <= 0 || m.SeqWriteBytesPerSec <= 0 || m.ReadsPerSec <= 0 {
		t.Errorf("%+v", m)
	}
	t.Logf("%+v", m)
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 3*chunkLen+5), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := ReadFile(t.Context(), path); n != 3*chunkLen+5 || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if err := Evict(path); err != nil {
		t.Error(err)
	}
}

// A process in the group sees its limit, is killed beyond it, and reads from
// the disk as slowly as it is told to.
func TestGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("control groups need root")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte{1}, 50*pageLen)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	g, err := NewGroup(Limits{MemoryBytes: 64 << 20, ReadsPerSec: 50, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	dirs := g.dirs
	defer func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		for _, d := range dirs {
			if _, err := os.Stat(d); err == nil {
				t.Errorf("%s is still there", d)
			}
		}
	}()
	start := time.Now()
	if out, err := g.Command(t.Context(), "dd", "if="+file, "of=/dev/null", "iflag=direct", "bs=4096").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if took := time.Since(start); took < time.Second/2 {
		t.Errorf("50 reads took %v at 50 a second", took)
	}
	err = g.Command(t.Context(), "dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1").Run()
	if err == nil {
		t.Error("a process has four times the memory of its group")
	}
}

func TestDiskOf(t *testing.T) {
	disk, err := diskOf(".")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/sys/dev/block/" + disk + "/partition"); err == nil {
		t.Errorf("%s is a part of a disk", disk)
	}
	if _, err := diskOf("/proc"); err == nil {
		t.Error("/proc is on a disk")
	}
}
