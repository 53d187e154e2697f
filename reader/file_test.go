package reader_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"promostore/format"
	"promostore/internal/fsx"
	"promostore/internal/gentest"
	"promostore/reader"
)

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	writeKeys(t, path, 1, makeKeys("v4", 1000, 0))
	whole, err := os.ReadFile(path)
	gentest.Must(t, err)
	for _, c := range []struct {
		name    string
		content []byte
		want    error
	}{
		{"empty", nil, format.ErrFormat},
		{"zeros", make([]byte, 2*format.HeaderLen), format.ErrFormat},
		{"version 3", append([]byte("PROMOGEN\x00\x00\x00\x03"), whole[12:]...), format.ErrVersion},
		{"truncated", whole[:len(whole)-1], format.ErrTruncated},
		{"extended", append(whole[:len(whole):len(whole)], 0), format.ErrTruncated},
	} {
		path := filepath.Join(dir, c.name)
		gentest.Must(t, os.WriteFile(path, c.content, 0o644))
		for _, access := range accesses {
			if _, err := reader.Open(path, access); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", c.name, err, c.want)
			}
		}
	}
	if _, err := reader.Open(filepath.Join(dir, "none"), reader.AccessMmap); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := reader.Open(dir, reader.AccessMmap); !errors.Is(err, fsx.ErrNotRegular) {
		t.Errorf("directory: %v", err)
	}
}

// TestMissingProc checks the error where /proc is missing. A Store takes
// os.ErrNotExist for a file that was removed, and reports nothing.
func TestMissingProc(t *testing.T) {
	if err := reader.ReopenError(os.ErrNotExist); errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/proc") {
		t.Error(err)
	}
}

func TestOpenAccess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	writeKeys(t, path, 1, makeKeys("v4", 1, 0))
	for _, c := range []struct{ access, want reader.Access }{
		{reader.AccessAuto, reader.AccessMmap}, // it fits in memory
		{reader.AccessMmap, reader.AccessMmap},
		{reader.AccessPread, reader.AccessPread},
	} {
		if got := open(t, path, c.access).Access(); got != c.want {
			t.Errorf("Open with %v: %v, want %v", c.access, got, c.want)
		}
	}
}

func TestUseAfterClose(t *testing.T) {
	keys := makeKeys("v4", 1000, 0)
	path := filepath.Join(t.TempDir(), "f")
	writeKeys(t, path, 1, keys)
	for _, access := range accesses {
		f := open(t, path, access)
		verify(t, f)
		for range 2 {
			if err := f.Close(); err != nil {
				t.Errorf("%v: Close: %v", access, err)
			}
		}
		for _, k := range []format.Key{keys[0], keys[500]} {
			if _, found, err := f.Get(k); found || !errors.Is(err, os.ErrClosed) {
				t.Errorf("%v: Get: %t, %v", access, found, err)
			}
		}
		if err := f.Verify(t.Context(), nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%v: Verify: %v", access, err)
		}
	}
}
