// Package peer holds the stores and the programs that promostore is compared
// with. Each is set up as its documentation recommends for a data set that is
// loaded at once and then only read.
//
// The stores keep an ID as 16 bytes, and price and date as the text of the CSV,
// so that nothing is lost. Stores that need sorted input get it from readDataSet,
// and the time of the sort is part of their time.
//
// A data set is not necessarily on the disk when Build returns.
package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"promostore/format"
)

// Peer is a library that builds a store from a CSV.
type Peer struct {
	Name string

	// Build writes a file or a directory to path.
	Build func(ctx context.Context, csv, path string) error

	// Open opens the result of Build. It is nil if the peer does not look up IDs.
	Open func(path string) (*Store, error)
}

// Store is an open data set.
type Store struct {
	// Reader returns a function for one goroutine at a time, and a function that
	// closes it. It is safe for concurrent use.
	Reader func() (get Get, closeReader func() error, err error)

	// Close must not be called before all readers are closed.
	Close func() error
}

// Get appends the price and the date of an ID to dst, as the CSV has them.
type Get func(id *[format.KeyLen]byte, dst []byte) (value []byte, found bool, err error)

// All lists the peers.
var All = []Peer{
	{"bbolt", buildBbolt, openBbolt},
	{"Pebble", buildPebble, openPebble},
	{"LMDB", buildLMDB, openLMDB},
	{"SQLite", buildSQLite, openSQLite},
	{"DuckDB", buildDuckDB, nil},
}

// Find returns the peer with the given name.
func Find(name string) (Peer, error) {
	for _, p := range All {
		if p.Name == name {
			return p, nil
		}
	}
	return Peer{}, fmt.Errorf("no peer %q", name)
}

// PutKey writes the 16 bytes of a key.
func PutKey(id *[format.KeyLen]byte, k format.Key) {
	binary.BigEndian.PutUint64(id[:], k.Hi)
	binary.BigEndian.PutUint64(id[8:], k.Lo)
}

// ErrNotInstalled means that a program is missing; "make peers" installs it.
var ErrNotInstalled = errors.New("not installed")

// LookPath returns the path of a program. It also searches the directories of
// servers, which are not in the path of an ordinary user.
func LookPath(name string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrNotInstalled)
}

// Run runs a program that ends with this process. The error has the output of
// the program to standard error.
func Run(c *exec.Cmd) error {
	var stderr bytes.Buffer
	if c.Stderr == nil {
		c.Stderr = &stderr
	}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}

// syncFile writes a file to the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// quote returns text as a literal of SQL.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
