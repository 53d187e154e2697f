// Command promoread reads a generation file at random places, and prints what
// came of it as JSON. It is a command so that it can be held to less memory
// than its caller.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"promostore/bench/limits"
)

func main() {
	var o limits.Reads
	flag.StringVar(&o.File, "file", "", "the generation `file`")
	flag.Int64Var(&o.Rows, "rows", 1, "it was built of promobuild generate --rows `N`")
	flag.BoolVar(&o.Bare, "bare", false, "read blocks, and look nothing up")
	flag.BoolVar(&o.Threads, "threads", false, "a thread for each client")
	flag.IntVar(&o.Clients, "clients", 64, "how many read at the same time")
	flag.Int64Var(&o.Warm, "warm", 0, "reads before those that count")
	flag.DurationVar(&o.Time, "time", 2*time.Second, "how long to read")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := o.Run(ctx)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(r)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "promoread:", err)
		os.Exit(1)
	}
}
