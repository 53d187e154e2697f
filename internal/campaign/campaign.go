// Package campaign sizes and seeds campaigns: tests that repeat a hostile act
// thousands of times, with other random choices each time. "make campaign" runs
// them; they have the build tag campaign.
package campaign

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// Random returns the source of all random choices of a campaign, and logs its
// seed. The environment variable SEED repeats a campaign.
func Random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEED: %v", err)
		}
		seed = n
	}
	t.Logf("SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// Amount returns n times the environment variable SCALE, and at least 1.
func Amount(t testing.TB, n int) int {
	t.Helper()
	text := os.Getenv("SCALE")
	if text == "" {
		return n
	}
	scale, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatalf("SCALE: %v", err)
	}
	return max(1, int(float64(n)*scale))
}

// Pick returns one of list.
func Pick[T any](random *rand.Rand, list []T) T { return list[random.IntN(len(list))] }
