package building_test

import (
	"testing"

	"promostore/bench/building"
	"promostore/bench/contest"
)

func BenchmarkBuild(b *testing.B) { contest.BenchGroups(b, 200_000, building.Groups) }
