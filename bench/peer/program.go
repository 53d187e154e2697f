package peer

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

// A Program is the command peerbuild, as MakeProgram built it.
type Program string

// MakeProgram builds the program in dir.
func MakeProgram(ctx context.Context, dir string) (Program, error) {
	path := filepath.Join(dir, "peerbuild")
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
