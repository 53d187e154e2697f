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

// Setup is the version and the settings, for people.
func (s Sort) Setup(ctx context.Context) (string, error) {
	text, err := exec.CommandContext(ctx, "sort", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("version of GNU sort, Debian's coreutils: %w", err)
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return fmt.Sprintf("%s: LC_ALL=C, -S %d KiB, --parallel=%d, temporary files beside the output", line, s.Memory>>10, runtime.GOMAXPROCS(0)), nil
}

// Build sorts csv into a new file with this path.
func (s Sort) Build(ctx context.Context, csv, path string) error {
	c := exec.CommandContext(ctx, "sort",
		"-S", strconv.FormatInt(s.Memory>>10, 10)+"K",
		"--parallel="+strconv.Itoa(runtime.GOMAXPROCS(0)),
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
