// Package machine tells what the machine is and can do, and holds processes to
// less of it: a part of its memory, a rate of its disk.
//
// Linux only. What needs root says so by its error.
package machine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Machine is what figures were measured on.
type Machine struct {
	CPU         string    `json:"cpu"`
	Cores       int       `json:"cores"` // that this process may use
	MemoryBytes int64     `json:"memory_bytes"`
	Kernel      string    `json:"kernel"`
	OS          string    `json:"os"`
	Go          string    `json:"go"`
	Commit      string    `json:"commit"` // of the checkout, with -dirty if it was changed, but for bench/results
	Date        time.Time `json:"date"`

	SeqReadBytesPerSec  float64 `json:"seq_read_bytes_per_sec"`
	SeqWriteBytesPerSec float64 `json:"seq_write_bytes_per_sec"` // until it is on the disk
	ReadsPerSec         float64 `json:"reads_per_sec"`           // of 4 KiB each at random, 64 at a time
}

// Describe is this machine with the disk that the directory dir is on. It
// takes some seconds, and a GiB in dir for as long.
func Describe(ctx context.Context, dir string) (Machine, error) {
	m := Machine{
		CPU:         field("/proc/cpuinfo", "model name"),
		Cores:       runtime.NumCPU(),
		MemoryBytes: Memory(),
		OS:          strings.Trim(field("/etc/os-release", "PRETTY_NAME"), `"`),
		Go:          runtime.Version(),
		Commit:      commit(ctx),
		Date:        time.Now().UTC().Truncate(time.Second),
	}
	if m.CPU == "" {
		m.CPU = runtime.GOARCH
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("uname: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	var err error
	m.SeqWriteBytesPerSec, m.SeqReadBytesPerSec, m.ReadsPerSec, err = diskRates(ctx, dir)
	return m, err
}

// field is the value of the first line "name: value" or "name=value" of a
// file; empty if there is none.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		i := strings.IndexAny(lines.Text(), ":=")
		if i >= 0 && strings.TrimSpace(lines.Text()[:i]) == name {
			return strings.TrimSpace(lines.Text()[i+1:])
		}
	}
	return ""
}

// Memory is that of the machine in bytes; 0 if it is not known.
func Memory() int64 {
	kb, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 10, 64)
	if err != nil {
		return 0
	}
	return kb << 10
}

// commit is that of the checkout in the current directory. What it measured
// before is no change of it.
func commit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "describe", "--tags", "--always").Output()
	if err != nil {
		return "unknown"
	}
	name := strings.TrimSpace(string(out))
	if exec.CommandContext(ctx, "git", "diff", "--quiet", "HEAD", "--", ":/", ":(top,exclude)bench/results").Run() != nil {
		name += "-dirty"
	}
	return name
}
