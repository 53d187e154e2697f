package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
	"promostore/internal/objects"
	"promostore/internal/transfer"
)

// objectFlags returns the flags of commands that access s3:// URLs.
func objectFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "s3-endpoint", EnvVars: []string{"AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"},
			Usage: "access s3:// URLs at `URL`, such as https://minio.example:9000", DefaultText: "AWS"},
		&cli.StringFlag{Name: "s3-region", EnvVars: []string{"AWS_REGION", "AWS_DEFAULT_REGION"},
			Usage: "sign requests for the region `NAME`", DefaultText: "that of the bucket"},
	}
}

// objectOptions returns the options that the flags of objectFlags select. All URLs
// that are parsed with them share one client for each bucket.
func objectOptions(c *cli.Context) objects.Options {
	return objects.Options{Endpoint: c.String("s3-endpoint"), Region: c.String("s3-region")}.Shared()
}

// transferAction is the action of push and pull between dir and url. It prints the
// result of run, with --json also after an error; there is none if it is nil.
func transferAction[S any](c *cli.Context, dir, url string, run func(context.Context, transfer.Location) (*S, error), print func(io.Writer, S) error) error {
	l, err := transfer.Parse(url, objectOptions(c))
	if err != nil {
		return program.Usagef("%v", err)
	}
	if l.IsDir(dir) {
		return program.Usagef("%s is the directory %s itself", url, dir)
	}
	ctx, stop := program.Interruptible(c.Context)
	defer stop()
	summary, err := run(ctx, l)
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted; the next %s continues: %w", c.Command.Name, context.Cause(ctx))
	}
	err = explainTransfer(err, c.Command.Name, dir)
	switch {
	case summary != nil && c.Bool("json"):
		return errors.Join(program.PrintJSON(c.App.Writer, summary), err)
	case err != nil:
		return err
	}
	return print(c.App.Writer, *summary)
}

// explainTransfer adds advice to an error of push or pull.
func explainTransfer(err error, command, dir string) error {
	hint := ""
	switch {
	case errors.Is(err, transfer.ErrConflict):
		hint = "Two builds had the same ID: build again and push the new generation"
	case errors.Is(err, transfer.ErrNone):
		hint = "Check the prefix, or push a generation: promobuild push DIR URL"
	case errors.Is(err, objects.ErrDenied):
		hint = "Check the credentials, and the place of the bucket: --s3-endpoint URL --s3-region NAME"
	case errors.Is(err, syscall.ENOSPC) && command == "pull":
		hint = "Free space: promobuild prune --keep N --data " + dir
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%w\n%s", err, hint)
}
