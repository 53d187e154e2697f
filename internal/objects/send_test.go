package objects

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// The source of an upload is not read after its end, though the transport may
// read a body after an answer.
func TestSendEndsTheUseOfTheSource(t *testing.T) {
	var late io.Reader
	err := send(t.Context(), strings.NewReader("data"), 0, 4, func(_ context.Context, body io.Reader, _ string) error {
		late = body
		return errBroken
	})
	if !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if n, err := late.Read(make([]byte, 4)); n != 0 || !errors.Is(err, os.ErrClosed) {
		t.Errorf("read %d bytes, error %v", n, err)
	}
}
