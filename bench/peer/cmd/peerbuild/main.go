// Command peerbuild makes a store of one of our peers of a promotions CSV, and
// prints the most memory that it had, in bytes.
package main

import (
	"context"
	"fmt"
	"os"

	"promostore/bench/peer"
	"promostore/internal/sysmem"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: peerbuild PEER CSV PATH")
		os.Exit(2)
	}
	peak, err := build(os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "peerbuild:", err)
		os.Exit(1)
	}
	fmt.Println(peak)
}

func build(name, csv, path string) (peak int64, err error) {
	p, found := peer.Find(name)
	if !found {
		return 0, fmt.Errorf("no peer %q in this build", name)
	}
	if err := p.Build(context.Background(), csv, path); err != nil {
		return 0, err
	}
	return sysmem.Peak(), nil
}
