// Package program is what the two programs share: their version, their log, how
// the environment sets flags, and the completion of their commands in a shell.
package program

import "runtime/debug"

// stamp is set by the linker: "git describe" of what was built.
var stamp string

// Version is what was built: the commit of the Makefile's build, or what the go
// command knows about it.
func Version() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}
