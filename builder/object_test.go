package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"promostore/internal/objects"
	"promostore/internal/synth"
)

// asObjects returns inputs that read the same files as objects of a directory.
func asObjects(t rapid.TB, inputs []Input) (list []Input) {
	t.Helper()
	for _, in := range inputs {
		s, o := objectOf(t, in.Name)
		list = append(list, ObjectInput(s, o))
	}
	return list
}

func objectOf(t rapid.TB, path string) (objects.Store, objects.Object) {
	t.Helper()
	s, key, err := objects.Parse(path, objects.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(context.Background(), key)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return s, r.Object()
}

// smallParts requests objects in parts that are shorter than some rows.
func smallParts() sizes {
	s := tiny
	s.part = 50
	return s
}

// An object that is written while it is read fails the build, however it is
// compressed.
func TestObjectThatChangesFailsBuild(t *testing.T) {
	data := csvOf(t, synth.DataSet{Rows: 5000})
	for _, ext := range []string{"", ".gz", ".zst"} {
		inputs := asObjects(t, files(t, t.TempDir(), []string{ext}, data, data))
		name := inputs[1].Name
		written := false
		s := smallParts()
		dir := t.TempDir()
		_, err := buildWith(t.Context(), s, Options{Inputs: inputs, Dir: dir, Workers: 2, Observe: func(s Status) {
			if s.Rows == 0 || written {
				return
			}
			written = true
			f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
			if err == nil {
				_, err = f.WriteString("x")
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				t.Error(err)
			}
		}})
		var changed *ChangedError
		if !errors.As(err, &changed) || changed.Name != name || !strings.HasPrefix(err.Error(), name+": replaced during the build") {
			t.Errorf("%s: error %v", ext, err)
		}
		wantFiles(t, dir, ".lock")
	}
}

// An object that was replaced before it is opened fails the build too, and so does
// one that was removed.
func TestObjectReplacedBeforeItIsReadFailsBuild(t *testing.T) {
	inputs := asObjects(t, files(t, t.TempDir(), []string{""}, []byte(testRow(1)), []byte(testRow(2))))
	name := inputs[1].Name
	if err := errors.Join(os.Remove(name), os.WriteFile(name, []byte(testRow(3)+testRow(4)), 0o600)); err != nil {
		t.Fatal(err)
	}
	build := func() error {
		_, err := Build(t.Context(), Options{Inputs: inputs, Dir: t.TempDir(), Memory: MinMemory})
		return err
	}
	var changed *ChangedError
	if err := build(); !errors.As(err, &changed) || changed.Name != name {
		t.Errorf("replaced: error %v", err)
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := build(); !errors.Is(err, objects.ErrNotFound) || !strings.Contains(err.Error(), name) {
		t.Errorf("removed: error %v", err)
	}
}

// An object that opens with another length than it was listed with fails the
// build, even if the ETag is the same.
func TestObjectOfAnotherLengthFailsBuild(t *testing.T) {
	inputs := asObjects(t, files(t, t.TempDir(), []string{""}, []byte(testRow(1)), []byte(testRow(2))))
	inputs[1].object.Size++
	_, err := Build(t.Context(), Options{Inputs: inputs, Dir: t.TempDir(), Memory: MinMemory})
	var changed *ChangedError
	if !errors.As(err, &changed) || changed.Name != inputs[1].Name {
		t.Errorf("error %v", err)
	}
}

// A bad row of an object is reported with its name, line and column.
func TestBadRowOfObjectHasItsPlace(t *testing.T) {
	inputs := asObjects(t, files(t, t.TempDir(), []string{".gz"}, []byte(testRow(1)), []byte(testRow(2)+"bad\n")))
	_, err := buildWith(t.Context(), smallParts(), Options{Inputs: inputs, Dir: t.TempDir(), Workers: 2})
	var bad *BadRowsError
	if !errors.As(err, &bad) || bad.Rows[0].Input != inputs[1].Name || bad.Rows[0].Line != 2 || bad.Rows[0].Column != 1 {
		t.Errorf("error %v", err)
	}
}

// Objects, streams and files can be mixed, and are read in their order.
func TestObjectsAmongOtherInputs(t *testing.T) {
	plain := files(t, t.TempDir(), []string{".zst", ""}, []byte(testRow(1)), []byte(testRow(2)))
	mixed := []Input{asObjects(t, plain)[0], stream("stream", []byte(testRow(3))), plain[1]}
	_, want := mustBuild(t, tiny, Options{Inputs: []Input{stream("all", []byte(testRow(1)+testRow(3)+testRow(2)))}})
	sum, got := mustBuild(t, smallParts(), Options{Inputs: mixed, Workers: 4})
	if !bytes.Equal(got, want) || sum.Rows != 3 {
		t.Errorf("different bytes; %+v", sum)
	}
}

// A canceled build does not wait for a store that does not answer.
func TestCancelWhileStoreBlocks(t *testing.T) {
	inputs := asObjects(t, files(t, t.TempDir(), []string{""}, []byte(testRow(1))))
	ctx, cancel := context.WithCancel(t.Context())
	inputs[0].object.store = blockedStore{inputs[0].object.store, cancel}
	_, err := Build(ctx, Options{Inputs: inputs, Dir: t.TempDir(), Memory: MinMemory})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A blockedStore calls opened and then waits until the context ends.
type blockedStore struct {
	objects.Store
	opened func()
}

func (s blockedStore) Open(ctx context.Context, key string) (*objects.Reader, error) {
	s.opened()
	<-ctx.Done()
	return nil, fmt.Errorf("%s: %w", s.URL(key), context.Cause(ctx))
}

func TestPlanLanesOfObjects(t *testing.T) {
	dir := t.TempDir()
	data := []byte(testRow(1))
	list := asObjects(t, files(t, dir, []string{""}, slices.Repeat([][]byte{data}, 40)...))
	for name, tc := range map[string]struct {
		inputs             []Input
		workers            int
		memory             int64
		rejects            io.Writer
		lanes, open, parts int
	}{
		"one":              {inputs: list[:1], workers: 4, memory: 1 << 30, lanes: 1, open: 1, parts: 8},
		"two":              {inputs: list[:2], workers: 4, memory: 1 << 30, lanes: 2, open: 2, parts: 4},
		"many":             {inputs: list, workers: 4, memory: 4 << 30, lanes: 40, open: 8, parts: 2},
		"many workers":     {inputs: list, workers: 64, memory: 64 << 30, lanes: 40, open: 40, parts: 2},
		"less memory":      {inputs: list, workers: 4, memory: 1 << 30, lanes: 40, open: 4, parts: 2},
		"minimal memory":   {inputs: list, workers: 4, memory: MinMemory, lanes: 1, open: 1, parts: 8},
		"one worker":       {inputs: list, workers: 1, memory: 1 << 30, lanes: 1, open: 1, parts: 8},
		"rejects":          {inputs: list, workers: 4, memory: 1 << 30, rejects: io.Discard, lanes: 1, open: 1, parts: 8},
		"ranges":           {inputs: []Input{RangeInput(list[0].object.store, list[0].object.Object, 0, 9), RangeInput(list[0].object.store, list[0].object.Object, 9, 20)}, workers: 4, memory: 1 << 30, lanes: 2, open: 2, parts: 4},
		"and a pipe":       {inputs: append(list[:2:2], stream("x", data)), workers: 4, memory: 1 << 30, lanes: 1, open: 1, parts: 8},
		"and a file":       {inputs: append(list[:2:2], FileInput(filepath.Join(dir, "0.csv"))), workers: 4, memory: 1 << 30, lanes: 3, open: 3, parts: 2},
		"no object at all": {inputs: []Input{FileInput(filepath.Join(dir, "0.csv"))}, workers: 4, memory: 1 << 30, lanes: 1, open: 1},
	} {
		got := planLanes(&Options{Inputs: tc.inputs, Workers: tc.workers, Memory: tc.memory, Rejects: tc.rejects})
		if got.lanes != tc.lanes || got.open != tc.open || got.parts.num != tc.parts {
			t.Errorf("%s: %+v, want %d lanes, %d open, %d parts in each", name, got, tc.lanes, tc.open, tc.parts)
		}
	}
}

// The parts and the decompressors of objects take a quarter of the memory at most.
func TestObjectsLeaveMemoryForTheSort(t *testing.T) {
	list := asObjects(t, files(t, t.TempDir(), []string{""}, slices.Repeat([][]byte{nil}, 100)...))
	rapid.Check(t, func(t *rapid.T) {
		opts := Options{
			Inputs:  list[:rapid.IntRange(1, len(list)).Draw(t, "objects")],
			Memory:  rapid.Int64Range(MinMemory, 1<<37).Draw(t, "memory"),
			Workers: rapid.IntRange(1, 200).Draw(t, "workers"),
		}
		opts.Workers = min(opts.Workers, int(opts.Memory>>24))
		plan := planLanes(&opts)
		if plan.memory > opts.Memory/4+int64(plan.open*plan.decoders)<<20 || plan.parts.len < 512<<10 {
			t.Fatalf("%+v", plan)
		}
	})
}
