package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"promostore/cmd/internal/scripttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"promoserve": main})
}

// TestScripts runs the scripts of testdata/script, which start promoserve as a
// process.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"exits": scripttest.Exits},
	})
}
