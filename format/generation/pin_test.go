package generation_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/fsx"

	"pgregory.net/rapid"
)

// pinPath returns the path of the pin of dir.
func pinPath(dir string) string { return filepath.Join(dir, generation.PinName) }

func drawPin(t *rapid.T) generation.Pin {
	p := generation.Pin{
		Active: rapid.Bool().Draw(t, "active"),
		By:     rapid.String().Draw(t, "by"),
		Reason: rapid.String().Draw(t, "reason"),
		At:     time.UnixMilli(rapid.Int64Range(0, int64(maxID)).Draw(t, "at")).UTC(),
	}
	if p.Active {
		p.ID = generation.ID(rapid.Int64Range(0, int64(maxID)).Draw(t, "id"))
		if p.UntilNewer = rapid.Bool().Draw(t, "until newer"); p.UntilNewer {
			p.Newest = generation.ID(rapid.Int64Range(0, int64(maxID)).Draw(t, "newest"))
		}
	}
	return p
}

// TestPinRoundTrip sets pins in turn and reads each.
func TestPinRoundTrip(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		p := drawPin(rt)
		if p.Active {
			touch(rt, dir, generation.Name{ID: p.ID, Shards: 1}.String())
		}
		if err := generation.SetPin(dir, p); err != nil {
			rt.Fatal(err)
		}
		if got, err := generation.ReadPin(dir); err != nil || !got.Equal(p) {
			rt.Fatalf("SetPin(%+v), ReadPin: %+v, %v", p, got, err)
		}
		text, err := os.ReadFile(pinPath(dir))
		if err != nil || bytes.Count(text, []byte("\n")) != 1 || !bytes.HasSuffix(text, []byte("\n")) {
			rt.Fatalf("file %q, %v, want one line", text, err)
		}
		if _, err := os.Stat(filepath.Join(dir, ".promotions.pin.tmp")); !errors.Is(err, fs.ErrNotExist) {
			rt.Fatalf("the temporary file remains: %v", err)
		}
	})
}

func TestPinText(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, aName)
	p := generation.Pin{Active: true, ID: generation.IDOf(now), By: "ops@node", Reason: "prices < 1 & worse", At: now}
	if err := generation.SetPin(dir, p); err != nil {
		t.Fatal(err)
	}
	want := `{"generation":"20261122T103000123Z","by":"ops@node","reason":"prices < 1 & worse","at":"2026-11-22T10:30:00.123Z"}` + "\n"
	if got, err := os.ReadFile(pinPath(dir)); err != nil || string(got) != want {
		t.Errorf("file %s, %v, want %s", got, err, want)
	}
	p.UntilNewer, p.Newest = true, p.ID+1
	if err := generation.SetPin(dir, p); err != nil {
		t.Fatal(err)
	}
	want = `{"generation":"20261122T103000123Z","until_newer_than":"20261122T103000124Z","by":"ops@node","reason":"prices < 1 & worse","at":"2026-11-22T10:30:00.123Z"}` + "\n"
	if got, err := os.ReadFile(pinPath(dir)); err != nil || string(got) != want {
		t.Errorf("until newer: file %s, %v, want %s", got, err, want)
	}
	if err := generation.SetPin(dir, generation.Pin{By: "ops@node", At: now}); err != nil {
		t.Fatal(err)
	}
	want = `{"generation":"","by":"ops@node","reason":"","at":"2026-11-22T10:30:00.123Z"}` + "\n"
	if got, err := os.ReadFile(pinPath(dir)); err != nil || string(got) != want {
		t.Errorf("unpinned: file %s, %v, want %s", got, err, want)
	}
}

func TestReadPin(t *testing.T) {
	id := generation.IDOf(now)
	whole := `{"generation":"20261122T103000123Z","by":"a","reason":"b","at":"2026-11-22T10:30:00Z"}` + "\n"
	for _, c := range []struct {
		name, text string
		want       *generation.Pin // nil: ErrPin
	}{
		{"complete", whole, &generation.Pin{Active: true, ID: id, By: "a", Reason: "b", At: now.Truncate(time.Second)}},
		{"written by hand", ` { "generation" : "20261122T103000123Z" } `, &generation.Pin{Active: true, ID: id}},
		{"unknown fields", `{"generation":"","since":{"a":[1]},"until":null}`, &generation.Pin{}},
		{"until newer", `{"generation":"20261122T103000123Z","until_newer_than":"20261122T110000000Z"}`, &generation.Pin{Active: true, ID: id, UntilNewer: true, Newest: id + 1_799_877}},
		{"unpinned until newer", `{"generation":"","until_newer_than":"20261122T110000000Z"}`, &generation.Pin{}},
		{"until invalid", `{"generation":"20261122T103000123Z","until_newer_than":"newer"}`, nil},
		{"empty", "", nil},
		{"zeros", strings.Repeat("\x00", 100), nil},
		{"missing generation", `{}`, nil},
		{"null", `null`, nil},
		{"string", `"20261122T103000123Z"`, nil},
		{"number", `{"generation":20261122}`, nil},
		{"invalid ID", `{"generation":"newest"}`, nil},
		{"file name", `{"generation":"` + aName + `"}`, nil},
		{"invalid date", `{"generation":"20261322T103000123Z"}`, nil},
		{"invalid time", `{"generation":"","at":"now"}`, nil},
		{"invalid offset", `{"generation":"","at":"2026-11-22T10:30:00+24:00"}`, nil},
		{"two pins", whole + whole, nil},
		{"rest of a longer pin", whole + "}", nil},
		{"deep nesting", strings.Repeat("[", 60_000), nil},
		{"maximum length", whole + strings.Repeat(" ", 64<<10-len(whole)), &generation.Pin{Active: true, ID: id, By: "a", Reason: "b", At: now.Truncate(time.Second)}},
		{"above the maximum length", whole + strings.Repeat(" ", 64<<10-len(whole)+1), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(pinPath(dir), []byte(c.text), 0o644); err != nil {
				t.Fatal(err)
			}
			got, err := generation.ReadPin(dir)
			if c.want == nil && !errors.Is(err, generation.ErrPin) || c.want != nil && (err != nil || !got.Equal(*c.want)) {
				t.Errorf("ReadPin: %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
	for n := range len(whole) - 2 { // it is complete without the line end
		dir := t.TempDir()
		if err := os.WriteFile(pinPath(dir), []byte(whole[:n]), 0o644); err != nil {
			t.Fatal(err)
		}
		if p, err := generation.ReadPin(dir); !errors.Is(err, generation.ErrPin) {
			t.Errorf("cut to %d bytes: %+v, %v", n, p, err)
		}
	}
}

// TestReadPinNotRegular gives the name of the pin to a pipe, which must not block,
// and to other files.
func TestReadPinNotRegular(t *testing.T) {
	dir := t.TempDir()
	if p, err := generation.ReadPin(dir); err != nil || p != (generation.Pin{}) {
		t.Errorf("missing pin: %+v, %v", p, err)
	}
	if p, err := generation.ReadPin(filepath.Join(dir, "none")); err != nil || p != (generation.Pin{}) {
		t.Errorf("missing directory: %+v, %v", p, err)
	}
	if err := syscall.Mkfifo(pinPath(dir), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := generation.ReadPin(dir); !errors.Is(err, generation.ErrPin) || !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("pipe: %v", err)
	}
	if err := errors.Join(os.Remove(pinPath(dir)), os.Mkdir(pinPath(dir), 0o755)); err != nil {
		t.Fatal(err)
	}
	if _, err := generation.ReadPin(dir); !errors.Is(err, generation.ErrPin) || !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("directory: %v", err)
	}
	if err := os.Remove(pinPath(dir)); err != nil {
		t.Fatal(err)
	}
	touch(t, dir, generation.PinName)
	if err := os.Chmod(pinPath(dir), 0); err != nil {
		t.Fatal(err)
	}
	unprivileged(func() {
		if _, err := generation.ReadPin(dir); !errors.Is(err, generation.ErrPin) || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("without permission: %v", err)
		}
	})
}

func TestSetPinErrors(t *testing.T) {
	dir := t.TempDir()
	id := generation.IDOf(now)
	old := generation.Pin{By: "old", At: now}
	if err := generation.SetPin(dir, old); err != nil {
		t.Fatal(err)
	}
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: id}); !errors.Is(err, generation.ErrAbsent) {
		t.Errorf("absent generation: %v, want %v", err, generation.ErrAbsent)
	}
	touch(t, dir, generation.Name{ID: id, Shard: 1, Shards: 2}.String())
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: id}); !errors.Is(err, generation.ErrIncomplete) {
		t.Errorf("incomplete generation: %v, want %v", err, generation.ErrIncomplete)
	}
	if err := generation.SetPin(dir, generation.Pin{Reason: strings.Repeat("x", 64<<10)}); err == nil {
		t.Error("a pin above the maximum length is set")
	}
	if err := generation.SetPin(filepath.Join(dir, "none"), old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing directory: %v, want %v", err, fs.ErrNotExist)
	}
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	unprivileged(func() {
		if err := generation.SetPin(dir, generation.Pin{By: "other"}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("without permission: %v, want %v", err, fs.ErrPermission)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := generation.ReadPin(dir); err != nil || !got.Equal(old) {
		t.Errorf("pin %+v, %v, want the previous one", got, err)
	}
}

// TestPinWhileBuilding checks that SetPin works while a Writer is open, and that
// OpenWriter removes the temporary file of a killed SetPin.
func TestPinWhileBuilding(t *testing.T) {
	dir := t.TempDir()
	touch(t, dir, aName, ".promotions.pin.tmp")
	w := openWriter(t, dir)
	wantNames(t, dir, aName)
	p := create(t, w, now)
	touch(t, dir, ".promotions.pin.tmp")
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: generation.IDOf(now)}); err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, filepath.Base(p.File(0).Name()), aName, generation.PinName)
	if err := p.Publish(); err != nil {
		t.Fatal(err)
	}
}

// TestPinKilled kills a process that sets pins repeatedly: the pin is always
// readable.
func TestPinKilled(t *testing.T) {
	if dir := os.Getenv("PROMO_TEST_PIN"); dir != "" {
		for i := 0; ; i++ {
			p := generation.Pin{Active: i%2 == 0, By: "child", Reason: strings.Repeat("x", i%1000)}
			if p.Active {
				p.ID = generation.IDOf(now)
			}
			if err := generation.SetPin(dir, p); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				fmt.Println("set")
			}
		}
	}
	dir := t.TempDir()
	touch(t, dir, aName)
	for range 20 {
		kill(t, "TestPinKilled", "PROMO_TEST_PIN="+dir)
		if p, err := generation.ReadPin(dir); err != nil || p.By != "child" {
			t.Fatalf("pin %+v, %v", p, err)
		}
	}
	openWriter(t, dir)
	wantNames(t, dir, aName, generation.PinName)
}

// kill runs one test of this program in a child process and kills it after its
// first output.
func kill(t *testing.T, test, env string) {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^"+test+"$")
	child.Env = append(os.Environ(), env)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	n, err := out.Read(make([]byte, 100))
	if n == 0 {
		t.Errorf("no output: %v", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
}

func FuzzPin(f *testing.F) {
	f.Add([]byte(`{"generation":"20261122T103000123Z","by":"a","reason":"b","at":"2026-11-22T10:30:00Z"}`))
	f.Add([]byte(`{"generation":""}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(pinPath(dir), text, 0o644); err != nil {
			t.Fatal(err)
		}
		p, err := generation.ReadPin(dir)
		if err != nil {
			if !errors.Is(err, generation.ErrPin) {
				t.Fatal(err)
			}
			return
		}
		if p.Active {
			touch(t, dir, generation.Name{ID: p.ID, Shards: 1}.String())
		}
		if err := generation.SetPin(dir, p); err != nil {
			return // too long after escaping
		}
		if q, err := generation.ReadPin(dir); err != nil || !q.Equal(p) {
			t.Fatalf("SetPin(%+v), ReadPin: %+v, %v", p, q, err)
		}
	})
}
