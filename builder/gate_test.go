package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/gzip"

	"promostore/format/generation"
	"promostore/internal/synth"
)

// synthetic is a table of so many rows, some of which repeat an id.
func synthetic(t *testing.T, rows, duplicates int64) Input {
	t.Helper()
	var b bytes.Buffer
	if _, err := (synth.Table{Rows: rows, Duplicates: duplicates}).WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return stream("table", b.Bytes())
}

func TestGate(t *testing.T) {
	const live = 1000
	for _, c := range []struct {
		name             string
		rows, duplicates int64
		min              int64
		shrink           float64
		empty            bool // there is no live generation
		want             string
	}{
		{name: "off", rows: 1},
		{name: "as many", rows: 500, min: 500},
		{name: "too few", rows: 499, min: 500, want: "499 records are fewer than the 500 that there have to be; nothing was published; --min-records 499 lets it through"},
		{name: "too few without duplicates", rows: 510, duplicates: 11, min: 500, want: "--min-records 499 lets"},
		{name: "grown", rows: 2000, shrink: 1},
		{name: "shrunk by as much", rows: 900, shrink: 10},
		{name: "shrunk by more", rows: 899, shrink: 10, want: "899 records are 10.1 % fewer than the live generation 20231114T221320000Z has: there have to be 900; nothing was published; --max-shrink 10.1 lets"},
		{name: "shrunk by duplicates", rows: 950, duplicates: 100, shrink: 10, want: "850 records are 15.0 %"},
		{name: "a fraction", rows: 999, shrink: 0.05, want: "--max-shrink 0.1 lets"},
		{name: "by all", rows: 1, shrink: 100},
		{name: "nothing to compare with", rows: 1, shrink: 1, empty: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := Options{Dir: t.TempDir(), Memory: MinMemory, MinRecords: c.min, MaxShrink: c.shrink}
			if !c.empty {
				mustBuild(t, tiny, Options{Dir: opts.Dir, Inputs: []Input{synthetic(t, live, 0)}})
			}
			for _, s := range []sizes{{}, tiny} { // in memory, spilled
				opts.Inputs = []Input{synthetic(t, c.rows, c.duplicates)}
				_, err := (&build{Options: opts, sizes: s}).build(context.Background())
				var gate *GateError
				switch {
				case c.want == "" && err != nil:
					t.Fatal(err)
				case c.want != "" && (!errors.As(err, &gate) || !strings.Contains(err.Error(), c.want)):
					t.Fatalf("error %v, want a *GateError that says %q", err, c.want)
				}
				if names := generations(t, opts.Dir); c.want != "" && len(names) != 1 {
					t.Fatalf("there are %v", names)
				}
				if c.want == "" {
					break // what is published now is what the next is compared with
				}
			}
		})
	}
}

// The flag and the value that an error names do let the table through.
func TestGateHint(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Memory: MinMemory, MaxShrink: 1, MinRecords: 990}
	mustBuild(t, tiny, Options{Dir: opts.Dir, Inputs: []Input{synthetic(t, 1000, 0)}})
	for range 2 {
		opts.Inputs = []Input{synthetic(t, 777, 0)}
		_, err := Build(context.Background(), opts)
		var gate *GateError
		if !errors.As(err, &gate) {
			t.Fatal(err)
		}
		value := any(&opts.MaxShrink)
		if gate.Flag == "--min-records" {
			value = &opts.MinRecords
		}
		if _, err := fmt.Sscan(gate.Value, value); err != nil {
			t.Fatal(err)
		}
	}
	opts.Inputs = []Input{synthetic(t, 777, 0)}
	if _, err := Build(context.Background(), opts); err != nil {
		t.Error(err)
	}
}

// The pinned generation is the live one.
func TestGatePinned(t *testing.T) {
	dir := t.TempDir()
	mustBuild(t, tiny, Options{Dir: dir, Inputs: []Input{synthetic(t, 1000, 0)}})
	small := Options{Dir: dir, Memory: MinMemory, Inputs: []Input{synthetic(t, 10, 0)}}
	if _, err := Build(context.Background(), small); err != nil {
		t.Fatal(err)
	}
	if err := generation.SetPin(dir, generation.Pin{Active: true, ID: testGeneration}); err != nil {
		t.Fatal(err)
	}
	small.Inputs, small.MaxShrink = []Input{synthetic(t, 10, 0)}, 50
	var gate *GateError
	if _, err := Build(context.Background(), small); !errors.As(err, &gate) || gate.Live != testGeneration {
		t.Errorf("error %v, want a *GateError about %s", err, testGeneration)
	}
}

func generations(t *testing.T, dir string) (names []string) {
	t.Helper()
	list, err := generation.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range list {
		names = append(names, g.ID.String())
	}
	return names
}

// An input that the disk has no room for is not even opened.
func TestNoRoomForInput(t *testing.T) {
	dir := t.TempDir()
	in := synthetic(t, 1, 0)
	in.Size = 1 << 60
	open := in.Open
	in.Open = func() (io.ReadCloser, error) {
		t.Error("the input is opened")
		return open()
	}
	_, err := Build(context.Background(), Options{Dir: dir, Memory: MinMemory, Inputs: []Input{in}})
	var space *SpaceError
	if !errors.As(err, &space) || !errors.Is(err, syscall.ENOSPC) || space.Dir != dir || space.Need < 1<<57 || space.Free >= space.Need {
		t.Errorf("error %+v, want a *SpaceError", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != ".lock" {
		t.Errorf("it left %v, %v", entries, err)
	}
}

// Publishing hears of the generation while it is not there yet, and can keep
// it from being there.
func TestPublishing(t *testing.T) {
	opts := Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: []Input{synthetic(t, 1, 0)}}
	var heard generation.ID
	refuse := errors.New("no")
	opts.Publishing = func(id generation.ID) error {
		if names := generations(t, opts.Dir); len(names) > 0 {
			t.Errorf("it is called when %v are there", names)
		}
		heard = id
		return refuse
	}
	if _, err := Build(context.Background(), opts); !errors.Is(err, refuse) {
		t.Errorf("error %v, want %v", err, refuse)
	}
	if names := generations(t, opts.Dir); len(names) > 0 {
		t.Errorf("there are %v", names)
	}
	refuse, opts.Inputs = nil, []Input{synthetic(t, 1, 0)}
	sum, err := Build(context.Background(), opts)
	if err != nil || sum.Generation != heard.String() {
		t.Errorf("generation %s, %v, and it heard of %s", sum.Generation, err, heard)
	}
}

// What is compressed as no table can be is given up, whatever it holds.
func TestExpansion(t *testing.T) {
	row := strings.Repeat("172ffc14-d229-4c93-b06b-f48b8c095512,9.68,2022-06-04 06:01:20\n", 4096)
	for name, piece := range map[string]string{
		"blank lines": strings.Repeat("\n", len(row)), "a line without an end": strings.Repeat("0", len(row)), "a row again and again": row,
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			for range maxFree/len(row) + 5 {
				if _, err := io.WriteString(z, piece); err != nil {
					t.Fatal(err)
				}
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			_, err := Build(context.Background(), Options{Dir: t.TempDir(), Memory: MinMemory, Inputs: []Input{stream("bomb", b.Bytes())}})
			if !errors.Is(err, ErrExpansion) {
				t.Errorf("%d bytes: error %v, want %v", b.Len(), err, ErrExpansion)
			}
		})
	}
}
