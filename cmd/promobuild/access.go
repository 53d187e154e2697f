package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// explainAccess returns an action with the errors of action. An error about a file
// that the user may not use names the flag of its directory, and the user.
func explainAccess(action cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		err := action(c)
		var at *fs.PathError
		if !errors.As(err, &at) {
			return err
		}
		created := at.Op == "mkdir" && errors.Is(at.Err, fs.ErrNotExist) // as in /proc
		if !created && !isDenied(at.Err) {
			return err
		}
		flag, dir := flagOf(c, at)
		text := strings.Replace(err.Error(), "inbox: "+at.Error(), at.Error(), 1) // the flag says it
		return &accessError{strings.ReplaceAll(text, at.Error(), accessText(flag, dir, at)), err}
	}
}

// An accessError is an error with another text.
type accessError struct {
	text string
	err  error
}

func (e *accessError) Error() string { return e.text }
func (e *accessError) Unwrap() error { return e.err }

func isDenied(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// flagOf returns the flag whose directory contains the file of at, or could not be
// created, and the directory. Both are empty if there is none.
func flagOf(c *cli.Context, at *fs.PathError) (flag, dir string) {
	for _, flag := range []string{"data", "tmp", "inbox", "temp-dir", "work", "out", "plan"} {
		if dir := c.String(flag); dir != "" && (isWithin(at.Path, dir) || at.Op == "mkdir" && isWithin(dir, at.Path)) {
			return "--" + flag, dir
		}
	}
	return "", ""
}

// isWithin reports whether path is dir or a file below it.
func isWithin(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// accessText returns the text of at for a file below dir, which is the value of
// flag.
func accessText(flag, dir string, at *fs.PathError) string {
	text := at.Path
	if flag != "" {
		text = flag + " " + dir
	}
	place, need := lacking(at.Path)
	switch {
	case place != "" && filepath.Clean(place) == filepath.Clean(dir):
		text += ": " + need
	case place != "" && place != text:
		text += ": " + place + " is " + need
	case place != "":
		text += ": " + need
	case at.Op == "mkdir":
		text += ": cannot be created"
	case flag != "":
		text += ": " + at.Path
	}
	return text + ": " + at.Err.Error()
}

// lacking returns the file on the way to path that the user may not use, and for
// what. It returns empty texts if there is none.
func lacking(path string) (place, need string) {
	need = "not readable"
	for place = path; ; place = filepath.Dir(place) {
		info, err := os.Stat(place)
		switch {
		case err != nil && place != filepath.Dir(place):
			if errors.Is(err, fs.ErrNotExist) {
				need = "not writable"
			}
			continue
		case err != nil:
			return "", ""
		}
		mode := uint32(unix.R_OK)
		if info.IsDir() {
			mode |= unix.X_OK
		}
		if unix.Access(place, mode) == nil {
			if unix.Access(place, unix.W_OK) == nil {
				return "", ""
			}
			need = "not writable"
		}
		return place, need + " for user " + userName()
	}
}

// denied returns err, the reason why path cannot be written, with the name of the
// user if permissions are the reason.
func denied(err error) error {
	if isDenied(err) {
		return fmt.Errorf("not writable for user %s: %w", userName(), err)
	}
	return err
}

// userName returns the name of the user of this process, or "uid N".
func userName() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}
