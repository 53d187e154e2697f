package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/english"
	"promostore/reader"
)

func getCommand() *cli.Command {
	return &cli.Command{
		Name:      "get",
		Usage:     "print promotions as JSON",
		ArgsUsage: "[FILE|DIR] ID... | -",
		Description: `Print one line of JSON for each ID, in the order of the arguments, as the server
answers it. For -, read IDs from standard input, one per line. Exit with 1 if an
ID is missing. Standard error names the generation. FILE is one file. If it is one
of several shards, the error for an ID of another shard names that shard.

DIR, or --data without it, means the generation that a server of DIR serves: the
pinned one, or else the newest servable one. --verify index finds it at once, and
only the blocks that are read are checked.

Examples:
   promobuild get --data /srv/promotions 172FFC14-D229-4C93-B06B-F48B8C095512
   promobuild get --generation 20261122T103000123Z 172FFC14-D229-4C93-B06B-F48B8C095512
   cut -d, -f1 promotions.csv | promobuild get -`,
		Flags: []cli.Flag{
			dataFlag("use the generations in `DIR`"),
			&cli.StringFlag{Name: "generation", Usage: "read the generation `ID` of --data", DefaultText: "the one that is served"},
			digitsFlag(),
			verifyFlag(),
		},
		Action: program.Printing(get),
	}
}

func get(c *cli.Context) error {
	args, err := program.Args(c, 1, math.MaxInt)
	if err != nil {
		return err
	}
	s, err := sourceOf(c)
	if err != nil {
		return err
	}
	where, args, err := s.splitGetArgs(c.String("generation"), args)
	if err != nil {
		return err
	}
	o, err := s.open(c.Context, where)
	if err != nil {
		return err
	}
	defer o.Close()
	s.announce(o)
	in := bufio.NewReader(c.App.Reader)
	g := &getter{from: o, out: bufio.NewWriter(c.App.Writer)}
	for id, err := range ids(args, in) {
		if err == nil {
			err = g.get(id)
		}
		if err == nil && in.Buffered() == 0 {
			err = g.out.Flush() // so that a program can write one id and wait for its answer
		}
		if err != nil {
			return errors.Join(g.out.Flush(), err)
		}
	}
	return errors.Join(g.out.Flush(), g.missing())
}

// splitGetArgs returns the generation to read, an argument of open, and the IDs of
// promotions. The generation is chosen, or else the first argument if that is no
// ID, or else the live one of s.dir.
func (s source) splitGetArgs(chosen string, args []string) (where string, ids []string, err error) {
	if chosen != "" {
		if _, err := generation.ParseID(chosen); err != nil {
			return "", nil, program.Usagef("--generation: %v", err)
		}
		where = chosen
	} else if _, ok := reader.ParseID([]byte(args[0])); ok || args[0] == "-" {
		where = s.dir
	} else {
		where, args = args[0], args[1:]
	}
	if i := slices.Index(args, "-"); i >= 0 && slices.Contains(args[i+1:], "-") {
		return "", nil, program.Usagef("standard input, -, is given twice")
	}
	if len(args) > 0 {
		return where, args, nil
	}
	if _, err := generation.ParseID(where); err != nil && !exists(where) {
		return "", nil, program.Usagef("%q is not a promotion ID such as 172FFC14-D229-4C93-B06B-F48B8C095512", where)
	}
	return "", nil, program.Usagef("missing argument: ID of a promotion")
}

// ids returns the IDs of args. A dash stands for the lines of in.
func ids(args []string, in *bufio.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, arg := range args {
			if arg != "-" {
				if !yield(arg, nil) {
					return
				}
				continue
			}
			for id, err := range inputLines(in) {
				if !yield(id, err) {
					return
				}
			}
		}
	}
}

// inputLines returns the lines of in that are not blank, without blanks around them.
func inputLines(in *bufio.Reader) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for n := 1; ; n++ {
			line, err := in.ReadSlice('\n')
			if errors.Is(err, bufio.ErrBufferFull) {
				err = fmt.Errorf("line %d is longer than %d bytes: not an ID", n, in.Size())
			}
			if err != nil && !errors.Is(err, io.EOF) {
				yield("", fmt.Errorf("%s: %w", standardInputName, err))
				return
			}
			if id := strings.TrimSpace(string(line)); id != "" && !yield(id, nil) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// maxMissing is the number of missing IDs that an error names.
const maxMissing = 20

// A getter prints promotions and counts the missing ones.
type getter struct {
	from   opened
	out    *bufio.Writer
	line   []byte
	reason []error // of the first missing IDs
	count  int
}

// get prints one promotion.
func (g *getter) get(id string) error {
	key, ok := reader.ParseID([]byte(id))
	if !ok {
		g.miss(fmt.Errorf("%q: not found: not an id", id))
		return nil
	}
	if !g.from.Owns(key) {
		g.miss(g.from.foreign(id, key))
		return nil
	}
	r, found, err := g.from.Get(key)
	if err != nil {
		return err
	}
	if !found {
		g.miss(fmt.Errorf("%s: not found", id))
		return nil
	}
	g.line = append(format.DefaultJSONOptions.AppendJSON(g.line[:0], &r, g.from.Styles()), '\n')
	_, err = g.out.Write(g.line)
	return err
}

// foreign returns the error for an id whose shard o lacks.
func (o opened) foreign(id string, key format.Key) error {
	shard := int(o.Header.ShardOf(key))
	name := generation.Name{ID: o.ID(), Shard: shard, Shards: len(o.Files)}
	return fmt.Errorf("%s: not in %s: the id belongs to shard %d of %d, file %s", id, o.path, shard, len(o.Files), name)
}

func (g *getter) miss(err error) {
	if g.count++; g.count <= maxMissing {
		g.reason = append(g.reason, err)
	}
}

// missing returns an error that names the first missing IDs, or nil.
func (g *getter) missing() error {
	if more := g.count - maxMissing; more > 0 {
		g.reason = append(g.reason, fmt.Errorf("and %s more", english.Count(more, "missing id")))
	}
	return errors.Join(g.reason...)
}
