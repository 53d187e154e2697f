package contest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Env is what an area needs to set its contests up.
type Env struct {
	Dir  string    // for files, of which there may be many GB; removed by its owner
	Bin  string    // directory with promobuild and promoserve
	Rows int64     // size of the tables
	Log  io.Writer // progress, for people
}

// An Area sets up the contests of one chapter and runs them. Each result is
// given to report as soon as it is known. What is not available on this
// machine (a program, a right) is a result with a note, not an error; report
// it by Missing.
type Area func(ctx context.Context, env *Env, report func(Result)) error

// Missing is the result of a contest that could not be held, and why.
func Missing(area, name, what, peer, why string) Result {
	return Result{Area: area, Name: name, What: what, Peer: peer, Note: "not measured: " + why}
}

// NewEnv makes an Env in a new directory under dir, or under the system's for
// temporary files if dir is empty, and builds the programs. The caller calls
// Close.
func NewEnv(ctx context.Context, dir string, rows int64, log io.Writer) (*Env, error) {
	dir, err := os.MkdirTemp(dir, "promobench-")
	if err != nil {
		return nil, err
	}
	e := &Env{Dir: dir, Bin: filepath.Join(dir, "bin"), Rows: rows, Log: log}
	build := exec.CommandContext(ctx, "go", "build", "-o", e.Bin+"/", "promostore/cmd/...")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("build of the programs: %w\n%s", err, out)
	}
	return e, nil
}

// Close removes the files.
func (e *Env) Close() error { return os.RemoveAll(e.Dir) }

// Logf writes a line of progress.
func (e *Env) Logf(format string, args ...any) { fmt.Fprintf(e.Log, format+"\n", args...) }

// CSV is the path of a table of rows rows with ids of kind keys ("v4", …), as
// promobuild generate makes it. It is made when first asked for.
func (e *Env) CSV(ctx context.Context, keys string, rows int64) (string, error) {
	path := filepath.Join(e.Dir, fmt.Sprintf("%s-%d.csv", keys, rows))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	f, err := os.Create(path + ".part")
	if err != nil {
		return "", err
	}
	defer f.Close()
	c := exec.CommandContext(ctx, filepath.Join(e.Bin, "promobuild"), "generate", "--rows", strconv.FormatInt(rows, 10), "--keys", keys)
	c.Stdout, c.Stderr = f, e.Log
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("generate %d rows: %w", rows, err)
	}
	return path, os.Rename(f.Name(), path)
}

// Generation is a directory with one generation of CSV(keys, rows). It is made
// when first asked for.
func (e *Env) Generation(ctx context.Context, keys string, rows int64) (string, error) {
	dir := filepath.Join(e.Dir, fmt.Sprintf("%s-%d", keys, rows))
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part"
	generate := exec.CommandContext(ctx, filepath.Join(e.Bin, "promobuild"), "generate", "--rows", strconv.FormatInt(rows, 10), "--keys", keys)
	build := exec.CommandContext(ctx, filepath.Join(e.Bin, "promobuild"), "build", "--quiet", "--data", part, "-")
	var err error
	if build.Stdin, err = generate.StdoutPipe(); err != nil {
		return "", err
	}
	generate.Stderr, build.Stderr = e.Log, e.Log
	if err := generate.Start(); err != nil {
		return "", err
	}
	buildErr := build.Run()
	if err := generate.Wait(); buildErr != nil || err != nil {
		return "", fmt.Errorf("build of %d rows: %w, generate: %w", rows, buildErr, err)
	}
	return dir, os.Rename(part, dir)
}
