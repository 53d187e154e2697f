package lookups_test

import (
	"testing"

	"promostore/bench/contest"
	"promostore/bench/lookups"
)

func BenchmarkLookup(b *testing.B) { contest.BenchGroups(b, 200_000, lookups.Groups) }
