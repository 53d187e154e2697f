package main

import (
	"compress/gzip"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"promostore/cmd/internal/scripttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"promobuild": main})
}

// TestScripts runs the scripts of testdata/script, which start promobuild as a
// process. They have these commands in addition to those of testscript:
//
//	exits CODE COMMAND...   run COMMAND, which must exit with CODE
//	gzip FILE, zstd FILE    write FILE.gz or FILE.zst
//	crlf FILE, bom FILE     change line ends to CRLF, or add a byte-order mark
//	chop FILE               remove the last byte, a line end
//	flip FILE OFFSET        change the byte at OFFSET; a negative one counts from the end
//	truncate FILE LENGTH    truncate FILE to LENGTH bytes
//	dotasks WORK            do all splits and merges of the newest plan in WORK
//	jsonkeys KEY...         check that standard output is a JSON object with exactly these keys
//	lines N                 check that standard output has N lines
func TestScripts(t *testing.T) {
	rows, err := filepath.Abs("../../testdata/promotions.csv")
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(scripts) < 10 {
		t.Fatalf("%d scripts, %v", len(scripts), err)
	}
	testscript.Run(t, testscript.Params{
		Files:               scripts,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ROWS", rows)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    scripttest.Exits,
			"jsonkeys": jsonKeys,
			"lines":    lines,
			"dotasks":  doTasks,
			"gzip": change(".gz", func(text []byte) []byte {
				var b strings.Builder
				w := gzip.NewWriter(&b)
				must(w.Write(text))
				must(0, w.Close())
				return []byte(b.String())
			}),
			"zstd": change(".zst", func(text []byte) []byte {
				var b strings.Builder
				w := must(zstd.NewWriter(&b))
				must(w.Write(text))
				must(0, w.Close())
				return []byte(b.String())
			}),
			"crlf": change("", func(text []byte) []byte {
				return []byte(strings.ReplaceAll(string(text), "\n", "\r\n"))
			}),
			"bom":  change("", func(text []byte) []byte { return append([]byte("\uFEFF"), text...) }),
			"chop": change("", func(text []byte) []byte { return text[:len(text)-1] }),
			"flip": changeAt(func(text []byte, at int) []byte {
				text[(at+len(text))%len(text)] ^= 0x10
				return text
			}),
			"truncate": changeAt(func(text []byte, at int) []byte { return text[:at] }),
		},
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// jsonKeys checks the keys of the JSON object on standard output.
func jsonKeys(ts *testscript.TestScript, neg bool, args []string) {
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		ts.Fatalf("standard output is not a JSON object: %v", err)
	}
	if dec.More() {
		ts.Fatalf("standard output is more than one JSON object")
	}
	slices.Sort(args)
	if got := slices.Sorted(maps.Keys(object)); neg || !slices.Equal(got, args) {
		ts.Fatalf("keys %v, want %v", got, args)
	}
}

// doTasks does all splits and merges of the newest plan.
func doTasks(ts *testscript.TestScript, _ bool, args []string) {
	for _, command := range []string{"split", "merge"} {
		for i := range 16 {
			if err := ts.Exec("promobuild", command, "--plan", args[0], "--index", strconv.Itoa(i)); err != nil {
				ts.Fatalf("%s %d: %v", command, i, err)
			}
		}
	}
}

// lines counts the lines of standard output.
func lines(ts *testscript.TestScript, neg bool, args []string) {
	want := must(strconv.Atoi(args[0]))
	if got := strings.Count(ts.ReadFile("stdout"), "\n"); neg || got != want {
		ts.Fatalf("standard output has %d lines, want %d", got, want)
	}
}

// change returns a command that applies f to each file. It writes the result to the
// file with the extension ext.
func change(ext string, f func([]byte) []byte) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		for _, arg := range args {
			path := ts.MkAbs(arg)
			must(0, os.WriteFile(path+ext, f(must(os.ReadFile(path))), 0o644))
		}
	}
}

// changeAt returns a command that applies f to a file and a number.
func changeAt(f func([]byte, int) []byte) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, _ bool, args []string) {
		at := must(strconv.Atoi(args[1]))
		path := ts.MkAbs(args[0])
		must(0, os.WriteFile(path, f(must(os.ReadFile(path)), at), 0o644))
	}
}
