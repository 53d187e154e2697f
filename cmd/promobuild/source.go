package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/escape"
	"promostore/reader"
)

// A source opens the generations that the arguments of a command name.
type source struct {
	dir       string    // finds IDs
	indexOnly bool      // do not verify the blocks of a directory's generations
	stderr    io.Writer // for progress and warnings
}

// An opened is an open generation.
type opened struct {
	*reader.File
	path string // of the file
	dir  string // whose live generation it is, or empty
}

// argumentHelp tells which generation an argument of a command means.
const argumentHelp = `DIR means the generation that a server of DIR serves: the pinned one, or else the
newest servable one. ID is that of a generation in --data.`

// sourceFlags returns the flags that sourceOf reads.
func sourceFlags() []cli.Flag {
	return []cli.Flag{dataFlag("use the generations in `DIR`"), verifyFlag()}
}

func verifyFlag() cli.Flag {
	return &cli.StringFlag{Name: "verify", Value: "full", Usage: "how much of a generation to verify before it counts as servable, like promoserve: `full|index`; index reads no blocks"}
}

// sourceOf returns the source that the flags --data and --verify describe.
func sourceOf(c *cli.Context) (source, error) {
	s := source{dir: c.String("data"), indexOnly: c.String("verify") == "index", stderr: c.App.ErrWriter}
	if s.dir == "" {
		return s, program.Usagef("--data is empty")
	}
	return s, nil
}

// argument returns the only argument of a command, or else --data.
func (s source) argument(c *cli.Context) (string, error) {
	args, err := program.Args(c, 0, 1)
	if err != nil {
		return "", err
	}
	return append(args, s.dir)[0], nil
}

// open opens the generation that arg names: the one of s.dir with that ID, the
// live one of a directory, or a file.
func (s source) open(ctx context.Context, arg string) (opened, error) {
	if id, err := generation.ParseID(arg); err == nil {
		if err := checkDir(s.dir); err != nil {
			return opened{}, err
		}
		g, err := generation.Find(s.dir, id)
		if err != nil {
			return opened{}, err
		}
		return openGeneration(g)
	}
	info, err := os.Stat(arg)
	switch {
	case errors.Is(err, fs.ErrNotExist) && arg == s.dir:
		return opened{}, checkDir(arg)
	case errors.Is(err, fs.ErrNotExist):
		return opened{}, fmt.Errorf("%q: no such file, directory or generation ID", arg)
	case err != nil:
		return opened{}, err
	case info.IsDir():
		return s.openLive(ctx, arg)
	}
	f, err := openFile(arg)
	if errors.Is(err, format.ErrFormat) && filepath.Ext(arg) != ".pgen" {
		err = fmt.Errorf("%w; build one from it: promobuild build %s", err, arg)
	}
	return opened{File: f, path: arg}, err
}

// openLive opens the generation that a server of dir serves.
func (s source) openLive(ctx context.Context, dir string) (opened, error) {
	g, err := s.live(ctx, dir, s.skip)
	if err != nil {
		return opened{}, err
	}
	o, err := openGeneration(g)
	o.dir = dir
	return o, err
}

// live returns the generation that a server of dir serves. skip, which may be
// nil, receives the preferred ones that are not servable, and the reasons.
func (s source) live(ctx context.Context, dir string, skip func(generation.Generation, error)) (generation.Generation, error) {
	if _, err := generation.ReadPin(dir); err != nil {
		fmt.Fprintln(s.stderr, escape.Name(err.Error()))
	}
	return generation.Live(ctx, dir, func(g generation.Generation) error {
		err := s.check(ctx, g)
		if err != nil && skip != nil && ctx.Err() == nil {
			skip(g, err)
		}
		return err
	})
}

// skip warns that a generation is not servable. An incomplete one may still be
// arriving.
func (s source) skip(_ generation.Generation, err error) {
	if !errors.Is(err, generation.ErrIncomplete) {
		fmt.Fprintf(s.stderr, "skipped: %s\n", escape.Name(err.Error()))
	}
}

// check returns why g is not servable.
func (s source) check(ctx context.Context, g generation.Generation) error {
	f, err := openGeneration(g)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.indexOnly {
		return nil
	}
	return s.verify(ctx, f)
}

// verify reads the whole file and checks every block. It draws a bar on a
// terminal.
func (s source) verify(ctx context.Context, f opened) error {
	var progress func(done, size int64)
	finish := func() error { return nil }
	if isTerminal(s.stderr) {
		bar := newBar(s.stderr, max(1, f.Header().Blocks()*format.BlockLen), "verify "+f.ID().String(), true)
		progress = func(done, _ int64) { _ = bar.Set64(done) }
		finish = bar.Finish
	}
	err := f.Verify(ctx, progress)
	_ = finish()
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}

// announce names the generation on standard error, which leaves standard output
// to its records.
func (s source) announce(o opened) {
	where, pinned := o.path, ""
	if o.dir != "" {
		where = o.dir
		switch pin, _ := generation.ReadPin(o.dir); {
		case pin.Active && pin.ID == o.ID():
			pinned = ", " + pinText(pin)
		case pin.Holds(o.ID(), time.Now()):
			pinned = fmt.Sprintf("; the pinned one, %s, is not servable", pin.ID)
		}
	}
	fmt.Fprintf(s.stderr, "%s: generation %s%s\n", escape.Name(where), o.ID(), pinned)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// isFile reports whether path is a file that is not a directory.
func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

func openGeneration(g generation.Generation) (opened, error) {
	if g.Shards > 1 && g.Complete() {
		return opened{}, fmt.Errorf("generation %s: split into several shards, which are not supported", g.ID)
	}
	files, err := generation.Open(g, generation.AllDigits, openPread)
	if err != nil {
		return opened{}, err
	}
	return opened{File: files[0], path: g.Files[0]}, nil
}

// openFile opens a generation file. If the name of the file is that of a
// generation, the header must agree with it.
func openFile(path string) (*reader.File, error) {
	f, err := openPread(path)
	if err != nil {
		return nil, err
	}
	if name, err := generation.ParseName(filepath.Base(path)); err == nil {
		if err := name.CheckHeader(f.Header()); err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
	}
	return f, nil
}

// openPread opens a file without a mapping. A file that is truncated during the
// command then causes an error, not a signal.
func openPread(path string) (*reader.File, error) { return reader.Open(path, reader.AccessPread) }
