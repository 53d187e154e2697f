package reader

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"promostore/format/generation"
)

// TestWatchWish changes the pin while a verification goes on, which is cut
// short at the next look.
func TestWatchWish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := NewStore(dir, StoreOptions{})
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		progress := s.watchWish(s.readWish(), cancel)
		time.Sleep(pinInterval)
		progress(1, 2)
		if ctx.Err() != nil {
			t.Fatal("cancelled, although the pin is as it was")
		}
		if err := generation.SetPin(dir, generation.Pin{By: "ops"}); err != nil {
			t.Fatal(err)
		}
		progress(1, 2)
		if ctx.Err() != nil {
			t.Fatal("looked at before its time")
		}
		time.Sleep(pinInterval)
		progress(1, 2)
		if !errors.Is(context.Cause(ctx), errPinMoved) {
			t.Errorf("cause %v, want %v", context.Cause(ctx), errPinMoved)
		}
	})
}
