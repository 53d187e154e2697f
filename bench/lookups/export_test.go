package lookups

import (
	"context"
	"testing"
	"time"

	"promostore/bench/contest"
	"promostore/format"
	"promostore/internal/synth"
)

// ShortTurns makes turns too short to measure anything, until t ends.
func ShortTurns(t *testing.T) {
	turns, waits := turnTime, waitTime
	turnTime, waitTime = time.Millisecond, time.Millisecond
	t.Cleanup(func() { turnTime, waitTime = turns, waits })
}

// WarmKeys is the ids by which a table is warmed, in their order.
func WarmKeys(ctx context.Context, env *contest.Env, rows int64) (keys []format.Key, err error) {
	t, err := open(ctx, env, synth.KeysV4, rows)
	if err != nil {
		return nil, err
	}
	err = t.warm(ctx, 0, rows, func(key format.Key) error {
		keys = append(keys, key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return keys, t.close()
}
