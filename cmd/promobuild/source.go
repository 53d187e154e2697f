package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/escape"
	"promostore/internal/fsx"
)

// A source opens the generations that the arguments of a command name.
type source struct {
	dir       string            // finds IDs
	digits    generation.Digits // of the shards to use; see digitsFlag
	indexOnly bool              // do not verify the blocks of a directory's generations
	stderr    io.Writer         // for progress and warnings
}

// An opened is an open generation, or one file of it.
type opened struct {
	*generation.Set
	path string // of the only file, or a pattern that the names of all files match
	dir  string // whose live generation it is, or empty
}

func (o opened) ID() generation.ID { return generation.ID(o.Header.Generation) }

// blocks returns the number of blocks in all files.
func (o opened) blocks() (n int64) {
	for _, f := range o.Open() {
		n += f.Index.Blocks()
	}
	return n
}

// partText tells which shards o consists of, unless it has all.
func (o opened) partText() string {
	files := o.Open()
	switch n := len(files); {
	case n == len(o.Files):
		return ""
	case n == 1:
		return fmt.Sprintf("shard %d of %d", files[0].Index.Shard, len(o.Files))
	default:
		return fmt.Sprintf("%d of %d shards", n, len(o.Files))
	}
}

// pathOf returns the path of the only file of g, or a pattern that the names of all
// files match.
func pathOf(g generation.Generation) string {
	name := generation.Name{ID: g.ID, Shards: g.Shards}.String()
	return patternOf(filepath.Join(filepath.Dir(g.Files[0]), name), g.Shards)
}

// patternOf returns first, the path of the first file of a generation, or a pattern
// that the names of all files match if there are several.
func patternOf(first string, shards int) string {
	if shards == 1 {
		return first
	}
	dir, name := filepath.Split(first)
	return dir + strings.Replace(name, "-00000-of-", "-*-of-", 1)
}

// argumentHelp tells which generation an argument of a command means.
const argumentHelp = `DIR means the generation that a server of DIR serves: the pinned one, or else the
newest servable one. ID is that of a generation in --data. FILE is one file; of a
generation with several shards, it is one shard.`

// sourceFlags returns the flags that sourceOf reads.
func sourceFlags() []cli.Flag {
	return []cli.Flag{dataFlag("use the generations in `DIR`"), digitsFlag(), verifyFlag()}
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
	var err error
	s.digits, err = digits(c)
	return s, err
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
		g, err := s.find(id)
		if err != nil {
			return opened{}, err
		}
		return s.openGeneration(g)
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
	set, err := generation.OpenFile(arg)
	if errors.Is(err, format.ErrFormat) && filepath.Ext(arg) != ".pgen" {
		err = fmt.Errorf("%w; build one from it: promobuild build %s", err, arg)
	}
	return opened{Set: set, path: arg}, err
}

// find returns the generation of s.dir with this ID.
func (s source) find(id generation.ID) (generation.Generation, error) {
	g, err := generation.Find(s.dir, id, s.digits)
	return g, adviseShards(s.dir, err)
}

// adviseShards adds to err what to do if shards of a generation of dir are missing.
func adviseShards(dir string, err error) error {
	var incomplete *generation.IncompleteError
	if !errors.As(err, &incomplete) {
		return err
	}
	advice := "Copy the missing files"
	if g, ferr := generation.Find(dir, incomplete.ID, 0); ferr == nil && completeDigits(g) != 0 {
		advice += ", or use the shards that are there: --digits " + completeDigits(g).String()
	}
	return fmt.Errorf("%w\n%s", err, advice)
}

// completeDigits returns the digits of which g has all shards.
func completeDigits(g generation.Generation) (complete generation.Digits) {
	for digit := range 16 {
		if one := generation.Digits(1) << digit; len(g.MissingOf(one)) == 0 {
			complete |= one
		}
	}
	return complete
}

// openLive opens the generation that a server of dir serves.
func (s source) openLive(ctx context.Context, dir string) (opened, error) {
	g, err := s.live(ctx, dir, s.skip)
	if err != nil {
		return opened{}, err
	}
	o, err := s.openGeneration(g)
	o.dir = dir
	return o, err
}

// live returns the generation that a server of dir serves. skip, which may be
// nil, receives the preferred ones that are not servable, and the reasons.
func (s source) live(ctx context.Context, dir string, skip func(generation.Generation, error)) (generation.Generation, error) {
	s.warnOfPin(dir)
	g, err := generation.Live(ctx, dir, func(g generation.Generation) error {
		err := s.check(ctx, g)
		if err != nil && skip != nil && ctx.Err() == nil && !fsx.IsTooManyOpen(err) {
			skip(g, err)
		}
		return err
	})
	return g, adviseShards(dir, err)
}

// previous returns the generation that a server of s.dir serves, and the one to
// which a rollback goes.
func (s source) previous(ctx context.Context) (before, served generation.Generation, err error) {
	s.warnOfPin(s.dir)
	before, served, err = generation.Previous(ctx, s.dir, func(g generation.Generation) error { return s.check(ctx, g) })
	return before, served, adviseShards(s.dir, err)
}

// warnOfPin warns if the pin of dir cannot be read, which counts as none.
func (s source) warnOfPin(dir string) {
	if _, err := generation.ReadPin(dir); err != nil {
		fmt.Fprintln(s.stderr, escape.Name(err.Error()))
	}
}

// skip warns that a generation is not servable. An incomplete one may still be
// arriving.
func (s source) skip(_ generation.Generation, err error) {
	if !errors.Is(err, generation.ErrIncomplete) {
		fmt.Fprintf(s.stderr, "skipped: %s\n", escape.Name(err.Error()))
	}
}

// openGeneration opens the shards of g that s uses, and checks everything but their
// blocks.
func (s source) openGeneration(g generation.Generation) (opened, error) {
	set, err := g.OpenSet(s.digits)
	if err != nil {
		return opened{}, err
	}
	return opened{Set: set, path: pathOf(g)}, nil
}

// check returns why g is not servable.
func (s source) check(ctx context.Context, g generation.Generation) error {
	o, err := s.openGeneration(g)
	if err != nil {
		return err
	}
	defer o.Close()
	if s.indexOnly {
		return nil
	}
	return s.verify(ctx, o)
}

// verify reads and checks every block. It draws a bar on a terminal.
func (s source) verify(ctx context.Context, o opened) error {
	var progress func(done, size int64)
	finish := func() error { return nil }
	if isTerminal(s.stderr) {
		bar := newBar(s.stderr, max(1, o.blocks()*format.BlockLen), "verify "+o.ID().String(), true)
		progress = func(done, _ int64) { _ = bar.Set64(done) }
		finish = bar.Finish
	}
	err := o.Verify(ctx, runtime.GOMAXPROCS(0), progress)
	_ = finish()
	return err
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
	if part := o.partText(); part != "" {
		pinned = ", " + part + pinned
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
