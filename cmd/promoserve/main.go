// Promoserve serves the newest generation of a directory over HTTP, and moves
// to the next without dropping a request.
package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	os.Exit(run(os.Args, environment{os.Stdout, os.Stderr, signals, time.Now}))
}
