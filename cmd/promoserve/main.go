// Promoserve serves the newest generation of a directory over HTTP and changes
// to the next one without dropping a request. "promoserve help" lists its flags
// and commands.
//
// It exits with 0 if a signal stopped it, with 1 on failure or after a second
// signal, and with 2 if the command line is wrong.
package main

import (
	"context"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"promostore/cmd/internal/program"
)

const description = `Serve the newest generation of a directory, and each later one as soon as it
appears. The directory may be empty or missing at the start.

Examples:
   promoserve --data /srv/promotions
   promoserve --digits 0-7                                half of a sharded generation
   promoserve --tls-self-signed                           HTTP and HTTPS on :1321
   promoserve --tls-cert cert.pem --tls-key key.pem --tls-only
   PROMO_LISTEN=127.0.0.1:8080 PROMO_LOG_FORMAT=json promoserve

   curl http://localhost:1321/promotions/172FFC14-D229-4C93-B06B-F48B8C095512
   curl http://localhost:1321/promotions/lookup --data '{"ids":["172FFC14-D229-4C93-B06B-F48B8C095512"]}'

Signals:
   SIGHUP            look for a new generation now, and read the certificate again;
                     stop like SIGTERM if the terminal of the server was closed
   SIGTERM, SIGINT   answer /readyz with 503, serve for --drain, finish running
                     requests within 30 s, and exit; one more, a second or more
                     after the first, ends the process at once

Exit codes:
   0                 a signal stopped the server, or the command succeeded
   1                 the server or the command failed, or a second signal stopped
                     the server
   2                 the command line is wrong`

// environment connects the program to its process, or to a test.
type environment struct {
	stdout, stderr io.Writer
	signals        *program.Signals
}

func main() {
	signals, stop := program.NotifySignals()
	defer stop()
	limitMemory()
	os.Exit(run(os.Args, environment{os.Stdout, os.Stderr, signals}))
}

// run runs the program, whose name is args[0], and returns the exit code.
func run(args []string, env environment) int {
	return program.Run(context.Background(), newApp(env), args)
}

func newApp(env environment) *cli.App {
	return &cli.App{
		Name:        "promoserve",
		Usage:       "serve promotions over HTTP",
		UsageText:   "promoserve [flags]\npromoserve COMMAND [flags]",
		Description: description,
		Version:     program.Version(),
		Writer:      env.stdout,
		ErrWriter:   env.stderr,
		Flags:       serverFlags(),
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return program.NoCommand(c)
			}
			opts, err := serverOptionsOf(c)
			if err != nil {
				return err
			}
			return serve(opts, program.Logger(c, env.stderr), env.signals)
		},
		Commands: []*cli.Command{healthCommand(), program.CompletionCommand("promoserve")},
	}
}
