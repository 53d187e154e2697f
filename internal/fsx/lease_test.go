package fsx_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"promostore/internal/fsx"
)

func TestCheckLease(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	w, err := os.Create(path)
	must(t, err)
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	if err := fsx.CheckLease(f); !errors.Is(err, fsx.ErrWritten) {
		t.Errorf("error %v, want %v", err, fsx.ErrWritten)
	}
	must(t, w.Close())
	must(t, fsx.CheckLease(f))
	w, err = os.OpenFile(path, os.O_WRONLY, 0) // waits for a lease that is held
	must(t, err)
	must(t, w.Close())
}
