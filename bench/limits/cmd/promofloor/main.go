// Command promofloor is the least of a server, to compare promoserve with; see
// limits.Floor. It is a command so that it can be held to less memory and disk
// than its caller.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"promostore/bench/limits"
)

func main() {
	var o limits.Floor
	listen := flag.String("listen", "127.0.0.1:0", "`host:port`")
	flag.StringVar(&o.File, "file", "", "the generation `file`")
	flag.Int64Var(&o.Rows, "rows", 1, "it was built of promobuild generate --rows `N`")
	flag.Int64Var(&o.Hot, "hot", 0, "how many of its rows are answered without a read")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ln, err := net.Listen("tcp", *listen)
	if err == nil {
		err = o.Serve(ctx, ln)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "promofloor:", err)
		os.Exit(1)
	}
}
