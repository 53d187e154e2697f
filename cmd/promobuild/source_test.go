package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/reader"
)

// Commands that take a directory read the generation that a server which starts
// now serves, and name it.
func TestCommandsAgreeWithServer(t *testing.T) {
	const first, second, third = generation.ID(1_000_000_000_000), generation.ID(1_100_000_000_000), generation.ID(1_200_000_000_000)
	future := generation.IDOf(time.Now().Add(48 * time.Hour))
	pin := func(id generation.ID) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			gentest.Must(t, generation.SetPin(dir, generation.Pin{Active: true, ID: id, By: "ops@node"}))
		}
	}
	untilNewer := func(newest generation.ID) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			gentest.Must(t, generation.SetPin(dir, generation.Pin{Active: true, ID: first, UntilNewer: true, Newest: newest}))
		}
	}
	until := func(newest generation.ID) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			gentest.Must(t, generation.SetPin(dir, generation.Pin{Active: true, ID: first, UntilNewer: true, Newest: newest}))
		}
	}
	block := func(id generation.ID) func(*testing.T, string) {
		return func(t *testing.T, dir string) { gentest.Flip(t, gentest.Path(dir, id), 4200) }
	}
	for _, c := range []struct {
		name  string
		want  generation.ID
		steps []func(*testing.T, string)
	}{
		{"no pin", third, nil},
		{"pinned", first, []func(*testing.T, string){pin(first)}},
		{"pinned until a newer one", first, []func(*testing.T, string){until(third)}},
		{"pin released by a newer one", third, []func(*testing.T, string){until(second)}},
		{"pin not released by a damaged one", first, []func(*testing.T, string){until(second), block(third)}},
		{"newest has a damaged block", second, []func(*testing.T, string){block(third)}},
		{"newest is truncated", second, []func(*testing.T, string){func(t *testing.T, dir string) {
			gentest.Must(t, os.Truncate(gentest.Path(dir, third), 5000))
		}}},
		{"newest is incomplete", third, []func(*testing.T, string){func(t *testing.T, dir string) {
			gentest.Must(t, os.WriteFile(filepath.Join(dir, generation.Name{ID: third + 1, Shards: 2}.String()), nil, 0o644))
		}}},
		{"pinned one has a damaged block", third, []func(*testing.T, string){pin(first), block(first)}},
		{"pinned one is missing", third, []func(*testing.T, string){pin(first), func(t *testing.T, dir string) {
			gentest.Must(t, os.Remove(gentest.Path(dir, first)))
		}}},
		{"unreadable pin", third, []func(*testing.T, string){func(t *testing.T, dir string) {
			gentest.Must(t, os.WriteFile(filepath.Join(dir, generation.PinName), []byte("{"), 0o644))
		}}},
		{"from the future", third, []func(*testing.T, string){func(t *testing.T, dir string) {
			gentest.Publish(t, dir, future, gentest.Sequence(9))
		}}},
		{"pinned until a newer one follows", first, []func(*testing.T, string){untilNewer(third)}},
		{"a newer one has released the pin", third, []func(*testing.T, string){untilNewer(second)}},
		{"the newer one has a damaged block", first, []func(*testing.T, string){untilNewer(second), block(third)}},
		{"two defects and a pin", second, []func(*testing.T, string){pin(second), block(third), block(first)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for i, id := range []generation.ID{first, second, third} {
				gentest.Publish(t, dir, id, gentest.Sequence(i+1))
			}
			outside := gentest.Publish(t, t.TempDir(), first, gentest.Sequence(1))
			for _, step := range c.steps {
				step(t, dir)
			}
			if got := serverLive(t, dir); got != c.want {
				t.Fatalf("the server serves %s, want %s", got, c.want)
			}
			for command, got := range commandsLive(t, dir, outside) {
				if got != c.want.String() {
					t.Errorf("%s reads generation %q, the server serves %s", command, got, c.want)
				}
			}
		})
	}
}

// serverLive returns the generation that a server of dir serves.
func serverLive(t *testing.T, dir string) generation.ID {
	store := reader.NewStore(dir, reader.StoreOptions{})
	defer store.Close()
	_ = store.Poll(t.Context()) // also returns why preferred generations are refused
	f := store.Acquire(0)
	if f == nil {
		t.Fatalf("no live generation: %+v", store.Status())
	}
	defer store.Release(f, 0)
	return f.ID()
}

// commandsLive returns the generation that each command reads for dir. outside is
// a file in another directory.
func commandsLive(t *testing.T, dir, outside string) map[string]string {
	out := func(args ...string) (stdout, stderr string) {
		var o, e bytes.Buffer
		run(context.Background(), append([]string{"promobuild"}, args...), nil, &o, &e)
		return o.String(), e.String()
	}
	parse := func(v any, args ...string) {
		stdout, stderr := out(args...)
		if err := json.Unmarshal([]byte(stdout), v); err != nil {
			t.Errorf("%v: %v: %s%s", args, err, stdout, stderr)
		}
	}
	named := func(text string) string {
		_, id, _ := strings.Cut(text, dir+": generation ")
		return id[:min(len(id), 19)]
	}
	got := map[string]string{}
	const id = "00000000-0000-0000-0000-000000000000"
	_, stderr := out("get", dir, id)
	got["get"] = named(stderr)
	_, stderr = out("get", "--data", dir, id)
	got["get --data"] = named(stderr)
	_, stderr = out("dump", dir)
	got["dump"] = named(stderr)
	var inspected struct{ Generation string }
	parse(&inspected, "inspect", "--json", dir)
	got["inspect"] = inspected.Generation
	var compared struct{ To struct{ Generation string } }
	parse(&compared, "diff", "--json", outside, dir)
	got["diff"] = compared.To.Generation
	stdout, _ := out("verify", dir)
	if name, err := generation.ParseName(filepath.Base(strings.Split(stdout, ": good")[0])); err == nil {
		got["verify"] = name.ID.String()
	} else {
		got["verify"] = stdout
	}
	var listed []struct {
		Generation string
		Live       bool
	}
	parse(&listed, "list", "--json", dir)
	for _, l := range listed {
		if l.Live {
			got["list"] += l.Generation
		}
	}
	return got
}

// With --verify index, commands agree with a server that does not read blocks.
func TestCommandsVerifyIndexOnly(t *testing.T) {
	dir := t.TempDir()
	gentest.Publish(t, dir, 1e12, gentest.Sequence(1000))
	newest := generation.ID(1_100_000_000_000)
	gentest.Flip(t, gentest.Publish(t, dir, newest, gentest.Sequence(1000)), 4200)
	const id = "00000000-0000-0000-0000-0000000003e7"
	for _, args := range []string{"get DIR " + id, "inspect DIR", "list DIR"} {
		for flag, want := range map[string]generation.ID{"": 1e12, " --verify index": newest} {
			var out bytes.Buffer
			code := run(context.Background(), commandLine(args+flag, dir), nil, &out, &out)
			shown := "generation +" + want.String()
			if strings.HasPrefix(args, "list") {
				shown = want.String() + " .* live"
			}
			if code != program.ExitDone || !regexp.MustCompile(shown).MatchString(out.String()) {
				t.Errorf("%s%s: exits with %d and prints\n%swant %s", args, flag, code, &out, shown)
			}
		}
	}
}
