package objects

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A link that exists because of a request whose answer was lost, in NFS, is not the
// object of another writer.
func TestRenameFindsItsOwnLink(t *testing.T) {
	dir := t.TempDir()
	temp, object := filepath.Join(dir, ".put-1.tmp"), filepath.Join(dir, "o")
	for _, err := range []error{os.WriteFile(temp, nil, 0o600), os.Link(temp, object), rename(temp, object, IfAbsent)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, err := range []error{os.Remove(object), os.WriteFile(object, nil, 0o600)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := rename(temp, object, IfAbsent); !errors.Is(err, ErrExists) {
		t.Errorf("error %v", err)
	}
}
