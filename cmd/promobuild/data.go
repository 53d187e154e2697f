package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
)

// dataFlag returns the flag that every command with a data directory has.
func dataFlag(usage string) cli.Flag {
	flag := &cli.StringFlag{Name: "data", Value: "./data", Usage: usage, TakesFile: true}
	program.WithEnv([]cli.Flag{flag})
	return flag
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
