package main

import (
	"os"
	"runtime/debug"

	"promostore/internal/sysmem"
)

// limitMemory makes the garbage collector run more often as the heap approaches
// three quarters of the memory that the process may use. By default the heap may
// grow to twice the size of the objects in use. The rest is for the kernel:
// sockets, page tables and the cache of the mapping. GOMEMLIMIT, if it is set, is
// the limit instead.
func limitMemory() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(sysmem.Total() / 4 * 3)
	}
}
