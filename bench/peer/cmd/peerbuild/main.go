// Command peerbuild makes a store of one of our peers of a promotions CSV, and
// prints the most memory that it had, in bytes.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"promostore/bench/peer"
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
	return peakMemory()
}

// peakMemory is the most that was resident. The kernel's other figure for it,
// that of getrusage, begins with what the parent had.
func peakMemory() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	var kib int64
	_, at, found := bytes.Cut(text, []byte("\nVmHWM:"))
	if !found {
		return 0, errors.New("/proc/self/status has no VmHWM")
	}
	if _, err := fmt.Sscanf(string(at), "%d kB", &kib); err != nil {
		return 0, fmt.Errorf("VmHWM: %w", err)
	}
	return kib << 10, nil
}
