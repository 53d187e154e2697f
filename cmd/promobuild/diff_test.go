package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"promostore/builder"
	"promostore/cmd/internal/program"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/synth"
)

// diff finds the same differences as a comparison of two maps, whatever the numbers
// of shards.
func TestDiffAgreesWithMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := [2]map[string]promotion{{}, {}} // by the id in lower case
		add := func(i int, p promotion) { sets[i][strings.ToLower(p.id)] = p }
		for _, p := range rapid.SliceOfN(rapid.Custom(drawPromotion), 0, 200).Draw(t, "promotions") {
			switch rapid.IntRange(0, 5).Draw(t, "where") {
			case 0:
				add(0, p)
			case 1:
				add(1, p)
			case 2:
				q := drawPromotion(t)
				add(0, p)
				add(1, promotion{p.id, q.price, p.date})
			case 3:
				q := drawPromotion(t)
				add(0, p)
				add(1, promotion{p.id, p.price, q.date})
			default:
				add(0, p)
				add(1, promotion{strings.ToLower(p.id), p.price, p.date})
			}
		}
		dir, err := os.MkdirTemp("", "promobuild")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for i, set := range sets {
			var in strings.Builder
			for _, p := range set {
				in.WriteString(p.row() + "\n")
			}
			id := fmt.Sprintf("20260101T00000000%dZ", i)
			args := append([]string{"build", "--quiet", "--allow-empty", "--memory", "64MiB", "--data", dir, "--generation", id, "-"}, drawShards(t)...)
			if code, _, errs := promobuild(t, in.String(), args...); code != program.ExitDone {
				t.Fatalf("build: exit code %d: %s", code, errs)
			}
		}
		show := rapid.IntRange(0, 20).Draw(t, "show")
		want := wantDiff(sets[0], sets[1], show)
		code, out, errs := promobuild(t, "", "diff", "--json", "--show", fmt.Sprint(show), "--data", dir, "20260101T000000000Z", "20260101T000000001Z")
		var got diffCounts
		if err := json.Unmarshal([]byte(out), &got); code != program.ExitDone || err != nil {
			t.Fatalf("diff: exit code %d, %v: %s", code, err, errs)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("diff prints\n%v, want\n%v", got, want)
		}
	})
}

// diffCounts decodes the output of diff --json, except for the files.
type diffCounts struct {
	Added, Removed, Changed, Unchanged int
	Shown                              struct {
		Added, Removed []diffRow
		Changed        []struct{ From, To diffRow }
	}
}

type diffRow struct {
	ID    string      `json:"id"`
	Price json.Number `json:"price"`
	Date  string      `json:"expiration_date"`
}

// wantDiff compares two maps.
func wantDiff(from, to map[string]promotion, show int) (d diffCounts) {
	rowOf := func(p promotion) diffRow {
		if id := strings.ToUpper(p.id); id != p.id || id == strings.ToLower(p.id) { // an id without letters is in lower case
			p.id = strings.ToLower(p.id)
		}
		return diffRow{p.id, json.Number(p.price), p.date}
	}
	all := maps.Clone(from)
	maps.Copy(all, to)
	for _, id := range slices.Sorted(maps.Keys(all)) {
		p, inFrom := from[id]
		q, inTo := to[id]
		switch {
		case !inFrom:
			if d.Added++; d.Added <= show {
				d.Shown.Added = append(d.Shown.Added, rowOf(q))
			}
		case !inTo:
			if d.Removed++; d.Removed <= show {
				d.Shown.Removed = append(d.Shown.Removed, rowOf(p))
			}
		case p.price != q.price || p.date != q.date:
			if d.Changed++; d.Changed <= show {
				d.Shown.Changed = append(d.Shown.Changed, struct{ From, To diffRow }{rowOf(p), rowOf(q)})
			}
		default:
			d.Unchanged++
		}
	}
	return d
}

// buildSynthetic builds a generation of synthetic rows.
func buildSynthetic(t testing.TB, dir string, rows synth.DataSet) string {
	t.Helper()
	r, w := io.Pipe()
	go func() {
		_, err := rows.WriteTo(w)
		w.CloseWithError(err)
	}()
	summary, err := builder.Build(t.Context(), builder.Options{Dir: dir, Inputs: []builder.Input{builder.StreamInput("rows", r)}, Memory: 256 << 20, Delimiter: ','})
	if err != nil {
		t.Fatal(err)
	}
	return summary.File
}

// diff compares files of many buffers, and finds damage in the last block.
func TestDiffOfLargeFiles(t *testing.T) {
	dir := t.TempDir()
	a := buildSynthetic(t, dir, synth.DataSet{Rows: 200_000, Keys: synth.Keys{Seed: 1}})
	b := buildSynthetic(t, dir, synth.DataSet{Rows: 150_000, Keys: synth.Keys{Seed: 1}})
	other := buildSynthetic(t, dir, synth.DataSet{Rows: 100_000, Keys: synth.Keys{Seed: 2}})
	for _, c := range []struct {
		from, to string
		want     string
	}{
		{a, b, `"added":0,"removed":50000,"changed":0,"unchanged":150000,`},
		{b, a, `"added":50000,"removed":0,"changed":0,"unchanged":150000,`},
		{a, other, `"added":100000,"removed":200000,"changed":0,"unchanged":0,`},
		{a, a, `"added":0,"removed":0,"changed":0,"unchanged":200000,`},
	} {
		out, err := exec.Command("promobuild", "diff", "--json", "--show", "0", c.from, c.to).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("diff %s %s: %v: %s, want %s", c.from, c.to, err, out, c.want)
		}
	}

	// The last block of the second file is damaged. The other blocks have been
	// compared when it is read.
	gentest.Overwrite(t, b, 4096+150_000*32-100, []byte("damage"))
	out, err := exec.Command("promobuild", "diff", a, b).CombinedOutput()
	if exitCode(err) != program.ExitFailed || !strings.Contains(string(out), "wrong checksum: at offset ") || strings.Contains(string(out), "unchanged") {
		t.Errorf("a damaged block at the end: %v: %s", err, out)
	}
}

// Commands that read whole files stop when their context ends, as a signal makes
// it, and change nothing.
func TestInterruptedCommandsChangeNothing(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		buildSynthetic(t, dir, synth.DataSet{Rows: 1000, Keys: synth.Keys{Seed: uint64(i)}})
	}
	list, err := generation.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	before := files(t, dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, args := range []string{
		"diff " + list[0].ID.String() + " " + list[1].ID.String(), "pin " + list[0].ID.String(), "rollback", "prune",
	} {
		var stdout, stderr bytes.Buffer
		command, _, _ := strings.Cut(args, " ")
		code := run(ctx, commandLine(args+" --data DIR", dir), nil, &stdout, &stderr)
		if code != program.ExitFailed || stdout.Len() > 0 || !strings.HasPrefix(stderr.String(), "promobuild: "+command+": interrupted") {
			t.Errorf("%s: exits with %d: %s%s", args, code, &stdout, &stderr)
		}
	}
	if after := files(t, dir); !slices.Equal(after, before) {
		t.Errorf("files after: %v, before: %v", after, before)
	}
}

// BenchmarkDiff compares diff with cp of both files, from the disk and from memory.
func BenchmarkDiff(b *testing.B) {
	const rows = 10_000_000
	dir := b.TempDir()
	files := []string{
		buildSynthetic(b, dir, synth.DataSet{Rows: rows, Keys: synth.Keys{Seed: 1}}),
		buildSynthetic(b, dir, synth.DataSet{Rows: rows - rows/100, Keys: synth.Keys{Seed: 1}}),
	}
	subjects := []struct {
		name string
		f    func() error
	}{
		{"read", func() error {
			for _, file := range files {
				if out, err := exec.Command("cp", file, os.DevNull).CombinedOutput(); err != nil {
					return fmt.Errorf("%w: %s", err, out)
				}
			}
			return nil
		}},
		{"diff", func() error {
			if code := run(b.Context(), []string{"promobuild", "diff", files[0], files[1]}, nil, io.Discard, os.Stderr); code != program.ExitDone {
				return fmt.Errorf("exit code %d", code)
			}
			return nil
		}},
	}
	for _, from := range []string{"disk", "memory"} {
		for _, subject := range subjects {
			b.Run(subject.name+"/"+from, func(b *testing.B) {
				b.SetBytes(rows * 2 * 32)
				for b.Loop() {
					if from == "disk" {
						b.StopTimer()
						for _, file := range files {
							evict(b, file)
						}
						b.StartTimer()
					}
					if err := subject.f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// evict removes a file from the page cache.
func evict(b *testing.B, path string) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		b.Fatal(err)
	}
}
