package main

import "github.com/dustin/go-humanize"

// count returns n with a noun whose plural ends in s: "1 row", "2 rows".
func count(n int64, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(n) + " " + noun
}
