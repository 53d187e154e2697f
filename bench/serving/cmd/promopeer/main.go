// Command promopeer is the servers that promoserve is compared with and that
// are not programs of their own: each is what its users would write in Go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
)

// A server answers on ln until ctx ends.
type server func(ctx context.Context, ln net.Listener) error

func main() {
	var (
		listen = flag.String("listen", "127.0.0.1:0", "`host:port`")
		kind   = flag.String("kind", "constant", "constant, mariadb, or the name of a store")
		source = flag.String("source", "", "path of the store, or data source name of the database")
		rows   = flag.Int64("rows", 0, "look up the first `N` ids of a generated table in the store before the start")
		body   = flag.String("body", "", "of the constant answer")
		etag   = flag.String("etag", "", "of the constant answer")
		live   = flag.String("generation", "", "of the constant answer")
		answer constant
	)
	flag.Parse()
	answer.body, answer.etag, answer.generation = []byte(*body), []byte(*etag), []byte(*live)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *kind, *source, *rows, &answer); err != nil {
		fmt.Fprintln(os.Stderr, "promopeer:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, kind, source string, rows int64, answer *constant) (err error) {
	var serve server
	switch kind {
	case "constant":
		serve = fast(answer.handle)
	case "mariadb":
		db, err := openDatabase(ctx, source)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, db.close()) }()
		serve = db.serve
	default:
		st, err := openStore(kind, source)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.close()) }()
		if err := st.warm(ctx, rows); err != nil {
			return fmt.Errorf("warming: %w", err)
		}
		serve = st.serve
	}
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	return serve(ctx, ln)
}
