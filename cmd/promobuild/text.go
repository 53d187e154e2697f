package main

import (
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"promostore/format/generation"
)

// aheadText returns ", ahead 2 h" if id is ahead of now, with "from the future"
// before it if it is too far ahead to be preferred; else "".
func aheadText(id generation.ID, now time.Time) string {
	ahead := id.Ahead(now)
	switch {
	case ahead == 0:
		return ""
	case id.IsFuture(now):
		return ", from the future, ahead " + durationText(ahead)
	}
	return ", ahead " + durationText(ahead)
}

// durationText returns d, rounded, in one unit.
func durationText(d time.Duration) string {
	for _, unit := range []struct {
		name  string
		value time.Duration
		end   int64 // above, the next unit is used
	}{{"s", time.Second, 90}, {"min", time.Minute, 90}, {"h", time.Hour, 47}} {
		if n := int64(d.Round(unit.value) / unit.value); n <= unit.end {
			return fmt.Sprintf("%d %s", n, unit.name)
		}
	}
	const day = 24 * time.Hour
	return humanize.Comma(int64(d.Round(day)/day)) + " d"
}
