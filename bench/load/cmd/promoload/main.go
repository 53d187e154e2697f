// Command promoload loads a server with requests for random promotions, and
// prints what came of it as JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"promostore/bench/load"
)

func main() {
	var opts load.Options
	flag.StringVar(&opts.Addr, "addr", "127.0.0.1:1321", "`host:port` of the server")
	flag.StringVar((*string)(&opts.Kind), "kind", string(load.Get), "what to send: get, lookup or redis")
	flag.Int64Var(&opts.Rows, "rows", 1_000_000, "the table is that of promobuild generate --rows `N`")
	flag.IntVar(&opts.Connections, "connections", 64, "how many, each with one request at a time")
	flag.IntVar(&opts.Threads, "threads", 1, "to drive the connections")
	flag.DurationVar(&opts.Duration, "duration", 2*time.Second, "how long to send requests")
	flag.Float64Var(&opts.Misses, "misses", 0.01, "the part of the ids that is not there")
	flag.BoolVar(&opts.Constant, "constant", false, "the server has every id")
	flag.Float64Var(&opts.Rate, "rate", 0, "requests a second (default as many as are answered)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	result, err := load.Run(ctx, opts)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "promoload:", err)
		os.Exit(1)
	}
}
