package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// A Program is the command promoload, as Build made it.
type Program string

// Build makes the program in dir.
func Build(ctx context.Context, dir string) (Program, error) {
	path := filepath.Join(dir, "promoload")
	c := exec.CommandContext(ctx, "go", "build", "-o", path, "promostore/bench/load/cmd/promoload")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build of the load: %w\n%s", err, out)
	}
	return Program(path), nil
}

// Run is the function Run in a process of its own, which dies with this one.
func (p Program) Run(ctx context.Context, opts Options) (r Result, err error) {
	if err := opts.Check(); err != nil {
		return r, err
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	c := exec.CommandContext(ctx, string(p),
		"-addr", opts.Addr,
		"-kind", string(opts.Kind),
		"-rows", strconv.FormatInt(opts.Rows, 10),
		"-connections", strconv.Itoa(opts.Connections),
		"-threads", strconv.Itoa(opts.Threads),
		"-duration", opts.Duration.String(),
		"-misses", number(opts.Misses),
		"-constant="+strconv.FormatBool(opts.Constant),
		"-rate", number(opts.Rate))
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		return r, fmt.Errorf("load on %s: %w: %s", opts.Addr, err, bytes.TrimSpace(stderr.Bytes()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return r, fmt.Errorf("load on %s: %w", opts.Addr, err)
	}
	return r, nil
}
