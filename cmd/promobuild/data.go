package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
)

// dataFlag returns the flag that every command with a data directory has.
func dataFlag(usage string) cli.Flag {
	flag := &cli.StringFlag{Name: "data", Value: "./data", Usage: usage, TakesFile: true}
	program.WithEnv([]cli.Flag{flag})
	return flag
}

// digitsFlag returns the flag of all commands that open generations. For the
// directory of a server of some digits, its value is that of the server.
func digitsFlag() cli.Flag {
	flag := &cli.StringFlag{Name: "digits", DefaultText: "all", Usage: "of sharded generations, use only the shards of IDs whose deciding hex digit is in `DIGITS`, like promoserve"}
	program.WithEnv([]cli.Flag{flag})
	return flag
}

// digits returns the value of --digits.
func digits(c *cli.Context) (generation.Digits, error) {
	text := c.String("digits")
	if text == "" {
		return generation.AllDigits, nil
	}
	d, err := generation.ParseDigits(text)
	if err != nil {
		return 0, program.Usagef("--%v", err) // the error begins with the name
	}
	return d, nil
}

// dataDir returns the directory of --data, which must exist.
func dataDir(c *cli.Context) (string, error) {
	dir := c.String("data")
	if dir == "" {
		return "", program.Usagef("--data is empty")
	}
	return dir, checkDir(dir)
}

// checkDir returns an error if dir is not a directory.
func checkDir(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: no such directory; --data DIR or PROMO_DATA chooses another one", dir)
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s: %w", dir, syscall.ENOTDIR)
	}
	return nil
}
