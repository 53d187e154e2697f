package reader

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"promostore/format/generation"
)

// TestCancelOnPinChange changes the pin during a verification, which the next
// check of the pin cancels.
func TestCancelOnPinChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		progress := cancelOnPinChange(dir, readDesired(dir), cancel)
		time.Sleep(pinInterval)
		progress(1, 2)
		if ctx.Err() != nil {
			t.Fatal("canceled although the pin has not changed")
		}
		if err := generation.SetPin(dir, generation.Pin{By: "ops"}); err != nil {
			t.Fatal(err)
		}
		progress(1, 2)
		if ctx.Err() != nil {
			t.Fatal("checked before the interval was over")
		}
		time.Sleep(pinInterval)
		progress(1, 2)
		if !errors.Is(context.Cause(ctx), errPinChanged) {
			t.Errorf("cause %v, want %v", context.Cause(ctx), errPinChanged)
		}
	})
}
