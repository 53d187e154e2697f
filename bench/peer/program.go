package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// ErrNotInstalled says that a program is not there, and in which package of
// Debian it is.
var ErrNotInstalled = errors.New("not installed")

// LookPath is the path of a program, which Debian has in a package. Servers are
// where only root looks. The error wraps ErrNotInstalled.
func LookPath(name, debian string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s, of Debian's package %s: %w", name, debian, ErrNotInstalled)
}

// A Program is the command peerbuild, as MakeProgram built it.
type Program string

// MakeProgram builds the program in dir, if it is not there yet.
func MakeProgram(ctx context.Context, dir string) (Program, error) {
	path := filepath.Join(dir, "peerbuild")
	if _, err := os.Stat(path); err == nil {
		return Program(path), nil
	}
	c := exec.CommandContext(ctx, "go", "build", "-o", path, "promostore/bench/peer/cmd/peerbuild")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of the peers: %w\n%s", err, out)
	}
	return Program(path), nil
}

// Build runs the function Build of the peer with this name in a process of
// its own, and tells the most memory that it had, in bytes.
func (p Program) Build(ctx context.Context, name, csv, path string) (peak int64, err error) {
	c := exec.CommandContext(ctx, string(p), name, csv, path)
	var stdout bytes.Buffer
	c.Stdout = &stdout
	if err := run(c); err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(bytes.TrimSpace(stdout.Bytes())), 10, 64)
}
