package peer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
)

// Sort is GNU sort of a CSV into another one. It checks nothing and syncs
// nothing.
type Sort struct {
	Memory int64 // bytes, for -S
}

// sortBatch is how many runs are merged at a time.
const sortBatch = 128

// Setup is the version and the settings, for people. The error wraps
// ErrNotInstalled if there is no GNU sort.
func (s Sort) Setup(ctx context.Context) (string, error) {
	path, err := LookPath("sort", "coreutils")
	if err != nil {
		return "", err
	}
	text, err := exec.CommandContext(ctx, path, "--version").Output()
	line, _, _ := bytes.Cut(text, []byte("\n"))
	if err != nil || !bytes.Contains(line, []byte("GNU")) { // others have no versions
		return "", fmt.Errorf("GNU sort, of Debian's package coreutils: %w", ErrNotInstalled)
	}
	return fmt.Sprintf("%s: LC_ALL=C, -S %d KiB, --parallel=%d, --batch-size=%d, temporary files beside the output",
		line, s.Memory>>10, runtime.GOMAXPROCS(0), sortBatch), nil
}

// Build sorts csv into a new file with this path.
func (s Sort) Build(ctx context.Context, csv, path string) error {
	c := exec.CommandContext(ctx, "sort",
		"-S", strconv.FormatInt(s.Memory>>10, 10)+"K",
		"--parallel="+strconv.Itoa(runtime.GOMAXPROCS(0)),
		"--batch-size="+strconv.Itoa(sortBatch),
		"-T", filepath.Dir(path), "-o", path, csv)
	c.Env = append(os.Environ(), "LC_ALL=C")
	return run(c)
}

// run runs a program that dies with this one, and has its last words in the
// error.
func run(c *exec.Cmd) error {
	var stderr bytes.Buffer
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
