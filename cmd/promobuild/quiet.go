package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"promostore/internal/english"
	"promostore/internal/escape"
	"promostore/internal/fsx"
	"promostore/internal/objects"
)

// A watch waits for files to be complete.
type watch struct {
	now  func() time.Time
	tick <-chan time.Time // polls
}

// waitQuiet waits until none of the input files has changed for quiet. It looks
// at regular files only, and ends with ctx.
func waitQuiet(ctx context.Context, args []string, quiet time.Duration) error {
	poll := time.NewTicker(min(max(quiet/10, time.Millisecond), time.Second))
	defer poll.Stop()
	return watch{time.Now, poll.C}.wait(ctx, args, quiet)
}

func (w watch) wait(ctx context.Context, args []string, quiet time.Duration) error {
	since := w.now()
	seen := make([]fsx.Identity, len(args))
	for {
		for i, arg := range args {
			info, err := statRegular(arg)
			if err != nil {
				return err
			}
			if info == nil {
				continue
			}
			if id := fsx.IdentityOf(info); !id.Equal(seen[i]) {
				seen[i], since = id, w.now()
			}
		}
		if w.now().Sub(since) >= quiet {
			return nil
		}
		select {
		case <-w.tick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// warnOfWriters warns of input files that a process has open for writing.
func warnOfWriters(w io.Writer, args []string) {
	for _, arg := range args {
		info, err := statRegular(arg)
		if err != nil || info == nil {
			continue
		}
		f, err := os.Open(arg)
		if err != nil {
			continue // the build reports it
		}
		if errors.Is(fsx.CheckLease(f), fsx.ErrWritten) {
			fmt.Fprintf(w, "warning: %s is open for writing and may be incomplete; it has %s now. To wait for it: --wait-quiet 30s\n", escape.Name(arg), english.Count(info.Size(), "byte"))
		}
		f.Close()
	}
}

// statRegular describes the file that an argument names. The result is nil for
// standard input, for a file that is not regular, and for an object, which is never
// incomplete.
func statRegular(arg string) (os.FileInfo, error) {
	if arg == "-" || objects.IsURL(arg) {
		return nil, nil
	}
	info, err := os.Stat(arg)
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	return info, nil
}
