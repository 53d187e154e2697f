package program

import (
	"strings"

	"github.com/xrash/smetrics"
)

// closest returns the candidate that word abbreviates, or else the one that
// takes the fewest edits. More than two edits, or edits of half the word, are
// no typo. An exchange of neighbors is one edit.
//
// The suggestions of package cli name the closest candidate however far it is.
func closest(word string, candidates []string) string {
	best, edits := "", min(2, (len(word)-1)/2)+1
	for _, candidate := range candidates {
		if len(word) >= 3 && strings.HasPrefix(candidate, word) {
			return candidate
		}
		if n := smetrics.WagnerFischer(word, candidate, 1, 1, 1); n < edits {
			best, edits = candidate, n
		}
	}
	return best
}
