// Package english writes numbers in sentences.
package english

import "github.com/dustin/go-humanize"

// Count returns n with a noun whose plural ends in s: "1 row", "2,000 rows".
func Count[I int | int64 | uint64](n I, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(int64(n)) + " " + noun
}
