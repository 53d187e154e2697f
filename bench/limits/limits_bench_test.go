package limits

import (
	"testing"

	"promostore/bench/contest"
)

func BenchmarkLimits(b *testing.B) { contest.BenchGroups(b, 2_000_000, Groups()) }
