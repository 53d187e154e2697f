package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format"
	"promostore/internal/english"
	"promostore/internal/sysmem"
)

// buildFlags returns the flags that build and updater share.
func buildFlags() []cli.Flag {
	return append([]cli.Flag{
		dataFlag("publish in `DIR`, and create it if it is missing"),
		memoryFlag(),
		&cli.StringFlag{Name: "tmp", Usage: "spill to `DIR`", DefaultText: "the directory of --data", TakesFile: true},
		workersFlag(),
	}, policyFlags(1)...)
}

func memoryFlag() cli.Flag {
	return &cli.StringFlag{Name: "memory", Usage: "use `SIZE` of memory, such as 512MiB or 4GiB; at least 64MiB", DefaultText: "a quarter of the memory of the machine or its cgroup"}
}

func workersFlag() cli.Flag {
	return &cli.IntFlag{Name: "workers", Usage: "parse and sort with `N` goroutines", DefaultText: "one per processor"}
}

// policyFlags returns the flags that decide about the result of a build.
func policyFlags(shards int) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "duplicates", Value: "last", Usage: "which row of a repeated ID to keep: `last|first|error`; error fails the build"},
		&cli.Int64Flag{Name: "max-bad-rows", Usage: "skip up to `N` bad rows; one more fails the build"},
		&cli.StringFlag{Name: "delimiter", Value: ",", Usage: "separate fields at the character `C`; tab, \\t, \\x01, \\001 and ^A name control characters"},
		&cli.IntFlag{Name: "shards", Value: shards, Usage: "divide each generation into `N` files: 1, or a power of two from 16 to 4096"},
		&cli.StringFlag{Name: "shard-by", Value: "last", Usage: "choose the shard of an ID by its `last|first` digits; last divides v4, v7 and numbered IDs evenly, first divides v1 and v4"},
		&cli.BoolFlag{Name: "require-final-newline", Usage: "fail a build of a CSV whose last row has no line end, because it may be cut"},
		&cli.BoolFlag{Name: "allow-empty", Usage: "publish a generation without records"},
		&cli.Int64Flag{Name: "min-records", Usage: "fail a build of fewer than `N` records"},
		&cli.Float64Flag{Name: "max-shrink", Usage: "fail a build that has over `PERCENT` fewer records than the live generation, or if that cannot be read; 100 allows any", DefaultText: "no limit"},
		changeFlag("added", "adds"),
		changeFlag("removed", "removes"),
		changeFlag("changed", "changes"),
	}
}

// changeFlag returns the flag that limits records of one kind.
func changeFlag(kind, verb string) cli.Flag {
	return &cli.Float64Flag{
		Name:        "max-" + kind,
		Usage:       "fail a build that " + verb + " more records than `PERCENT` of those of the live generation, or if that cannot be read",
		DefaultText: "no limit, and no comparison",
	}
}

// buildOptions returns the options that the flags of buildFlags select.
func buildOptions(c *cli.Context) (builder.Options, error) {
	opts, err := policyOptions(c)
	if err != nil {
		return opts, err
	}
	opts.Dir, opts.TempDir = c.String("data"), c.String("tmp")
	if opts.Dir == "" {
		return opts, program.Usagef("--data is empty")
	}
	if opts.Workers, err = workers(c); err != nil {
		return opts, err
	}
	if opts.Memory, err = memory(c.String("memory")); err != nil {
		return opts, err
	}
	if isFile(opts.Dir) {
		return opts, fmt.Errorf("--data %s: %w", opts.Dir, syscall.ENOTDIR)
	}
	if err := checkWritableDir(opts.TempDir); err != nil {
		return opts, fmt.Errorf("--tmp %s: %w", opts.TempDir, denied(err))
	}
	return opts, nil
}

// workers returns the value of --workers.
func workers(c *cli.Context) (int, error) {
	n := c.Int("workers")
	if n < 0 {
		return 0, program.Usagef("--workers %d is negative", n)
	}
	return n, nil
}

// policyOptions returns the options that the flags of policyFlags select.
func policyOptions(c *cli.Context) (builder.Options, error) {
	opts := builder.Options{
		MaxBadRows: c.Int64("max-bad-rows"),
		Guards: builder.Guards{
			AllowEmpty: c.Bool("allow-empty"),
			MinRecords: c.Int64("min-records"),
			MaxShrink:  c.Float64("max-shrink"),
			MaxAdded:   c.Float64("max-added"),
			MaxRemoved: c.Float64("max-removed"),
			MaxChanged: c.Float64("max-changed"),
		},
		RequireFinalNewline: c.Bool("require-final-newline"),
	}
	switch {
	case opts.MaxBadRows < 0:
		return opts, program.Usagef("--max-bad-rows %d is negative", opts.MaxBadRows)
	case opts.MinRecords < 0:
		return opts, program.Usagef("--min-records %d is negative", opts.MinRecords)
	case c.IsSet("max-shrink") && !(opts.MaxShrink > 0 && opts.MaxShrink <= 100):
		return opts, program.Usagef("--max-shrink %v is not a percentage above 0 and up to 100", opts.MaxShrink)
	}
	for name, value := range map[string]float64{"max-added": opts.MaxAdded, "max-removed": opts.MaxRemoved, "max-changed": opts.MaxChanged} {
		switch {
		case c.IsSet(name) && !(value > 0): // NaN too
			return opts, program.Usagef("--%s %v is not a percentage above 0", name, value)
		case name != "max-added" && value > 100:
			return opts, program.Usagef("--%s %v is not a percentage up to 100", name, value)
		}
	}
	var err error
	if opts.Sharding, err = sharding(c); err != nil {
		return opts, err
	}
	opts.Duplicates = map[string]builder.Duplicates{
		"last": builder.KeepLast, "first": builder.KeepFirst, "error": builder.FailOnDuplicate,
	}[c.String("duplicates")]
	opts.Delimiter, err = delimiter(c.String("delimiter"))
	return opts, err
}

// sharding returns the sharding that --shards and --shard-by select.
func sharding(c *cli.Context) (format.Sharding, error) {
	n := c.Int("shards")
	if n == 1 {
		if c.IsSet("shard-by") && !c.IsSet("shards") {
			return format.Sharding{}, program.Usagef("--shard-by has no effect without --shards; add --shards N")
		}
		return format.Unsharded, nil
	}
	s := format.Sharding{Rule: shardRules[c.String("shard-by")], Shards: uint32(max(0, min(n, math.MaxUint32)))}
	if !s.Valid() {
		return s, program.Usagef("--shards %d is not 1, nor a power of two from %d to %d", n, format.MinShards, format.MaxShards)
	}
	return s, nil
}

// shardRules are the values of --shard-by.
var shardRules = map[string]format.ShardRule{"last": format.ShardLast, "first": format.ShardFirst}

func memory(text string) (int64, error) {
	if text == "" {
		return max(sysmem.Total()/4, builder.MinMemory), nil
	}
	n, ok := size(text)
	if !ok {
		return 0, program.Usagef("--memory %q is not a size such as 512MiB or 4GiB", text)
	}
	if least := humanize.IBytes(builder.MinMemory); n < builder.MinMemory {
		if strings.Trim(text, "0123456789") == "" {
			return 0, program.Usagef("--memory %s is %s, less than %s; write a unit, as in %sMiB", text, english.Count(n, "byte"), least, text)
		}
		return 0, program.Usagef("--memory %s is less than %s", text, least)
	}
	return n, nil
}

// checkWritableDir returns an error if a build could not create files in dir. An
// empty dir is that of the generations, which need not exist.
func checkWritableDir(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	var at *fs.PathError
	switch {
	case errors.As(err, &at):
		return at.Err
	case !info.IsDir():
		return syscall.ENOTDIR
	}
	return unix.Access(dir, unix.W_OK|unix.X_OK)
}

// memoryWarning returns a warning if a build may use more memory than there is.
func memoryWarning(memory int64) string {
	total := sysmem.Total()
	if memory <= total {
		return ""
	}
	return fmt.Sprintf("--memory %s is more than the %s of this machine or its cgroup; the kernel may end the build",
		humanize.IBytes(uint64(memory)), humanize.IBytes(uint64(total)))
}

// size parses a number of bytes such as 512MiB.
func size(text string) (n int64, ok bool) {
	u, err := humanize.ParseBytes(text)
	return int64(u), err == nil && u <= math.MaxInt64
}

// delimiter parses a character, or a name of a control character: tab, an escape
// such as \t, \x01 or \001, or ^A.
func delimiter(text string) (byte, error) {
	c, ok := character(text)
	if !ok {
		return 0, program.Usagef(`--delimiter %q is not an ASCII character such as ; or |, nor tab, \t, \x01, \001 or ^A`, text)
	}
	if !builder.ValidDelimiter(c) {
		return 0, program.Usagef(`--delimiter %q can be part of a field or a line end; use another one than letters, digits, blanks, ", +, -, . and :`, text)
	}
	return c, nil
}

// character returns the ASCII character that text is or names.
func character(text string) (c byte, ok bool) {
	switch {
	case len(text) == 1:
		return text[0], text[0] < utf8.RuneSelf
	case text == "tab":
		return '\t', true
	case len(text) == 2 && text[0] == '^' && '@' < text[1] && text[1] < 0x7f:
		c = text[1] & 0x1f // ^a is ^A
		return c, text[1] >= 'A'
	case strings.HasPrefix(text, `\`):
		r, _, rest, err := strconv.UnquoteChar(text, 0)
		return byte(r), err == nil && rest == "" && r < utf8.RuneSelf
	}
	return 0, false
}
