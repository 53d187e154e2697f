package main

import "github.com/dustin/go-humanize"

// count is n and what there is n of: a noun whose plural ends in s.
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(n) + " " + noun
}
