package builder

import (
	"io"
	"os"
)

// An Input is one CSV, plain or compressed.
type Input struct {
	Name string // for messages
	Size int64  // bytes on the disk; 0 if unknown
	Open func() (io.ReadCloser, error)
}

// FileInput is the file with this path.
func FileInput(path string) Input {
	in := Input{Name: path, Open: func() (io.ReadCloser, error) { return os.Open(path) }}
	if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() {
		in.Size = st.Size()
	}
	return in
}

// StreamInput reads r, once. name is for messages.
func StreamInput(name string, r io.Reader) Input {
	return Input{Name: name, Open: func() (io.ReadCloser, error) { return io.NopCloser(r), nil }}
}
