package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/internal/objects"
)

const standardInputName = "standard input"

// inputs returns the inputs that the arguments name. A dash is standard input.
// passed are the URLs of objects that a pattern matches, but that are no data sets.
func inputs(ctx context.Context, args []string, stdin io.Reader, opts objects.Options) (list []builder.Input, passed []string, err error) {
	standard := false
	for _, arg := range args {
		if objects.IsURL(arg) {
			found, others, err := namedObjects(ctx, arg, opts)
			if err != nil {
				return nil, nil, err
			}
			for _, o := range found {
				list = append(list, builder.ObjectInput(o.Store, o.Object))
			}
			passed = append(passed, others...)
			continue
		}
		if arg != "-" {
			if err := checkFile(arg); err != nil {
				return nil, nil, err
			}
			list = append(list, builder.FileInput(arg))
			continue
		}
		if standard {
			return nil, nil, program.Usagef("standard input, -, is given twice")
		}
		standard = true
		list = append(list, standardInput(stdin))
	}
	return list, passed, nil
}

// checkFile returns an error if arg is a directory or does not exist.
func checkFile(arg string) error {
	if isDir(arg) {
		return fmt.Errorf("%s is a directory; name its files, as in %s", arg, filepath.Join(arg, "*.csv"))
	}
	if !exists(arg) {
		return errNoFile(arg)
	}
	return nil
}

// errNoFile returns the error for an input that does not exist.
func errNoFile(arg string) error {
	switch {
	case arg == "":
		return errors.New(`"": no such file`)
	case strings.HasPrefix(arg, "http://"), strings.HasPrefix(arg, "https://"):
		return fmt.Errorf("%s: no such file; download it: curl --fail %s | promobuild build -", arg, arg)
	case strings.ContainsAny(arg, "*?"):
		return fmt.Errorf("%s: no such file; patterns are expanded by the shell only", arg)
	}
	return fmt.Errorf("%s: %w", arg, syscall.ENOENT)
}

// standardInput returns stdin as an input. Its size is known if it is a file.
func standardInput(stdin io.Reader) builder.Input {
	in := builder.StreamInput(standardInputName, stdin)
	if f, ok := stdin.(*os.File); ok {
		st, err := f.Stat()
		if at, serr := f.Seek(0, io.SeekCurrent); err == nil && serr == nil && st.Mode().IsRegular() {
			in.Size = max(0, st.Size()-at)
		}
	}
	return in
}
