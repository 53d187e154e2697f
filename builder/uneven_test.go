package builder

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"promostore/format"
)

// Ids that are uneven on every level: each bit of the prefix halves the rest,
// so a split always leaves one child with half of the records.
func TestUnevenKeys(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, deep := range []int{20, 64, 127} {
		var b strings.Builder
		for i := range 30_000 {
			k := format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}
			shift := uint(rng.IntN(deep))
			if shift >= 64 {
				k = format.Key{Lo: k.Hi >> (shift - 64)}
			} else {
				k = format.Key{Hi: k.Hi >> shift, Lo: k.Lo>>shift | k.Hi<<(64-shift)}
			}
			fmt.Fprintf(&b, "%s,%d.50,2018-06-04 06:01:20\n", k, i)
		}
		data := []byte(b.String())
		want := expect(data, KeepLast)
		for _, s := range []sizes{tiny, sizesFor(MinMemory, 2)} {
			_, file := mustBuild(t, s, Options{Inputs: []Input{stream("a", data)}, Workers: 2})
			if got := dump(t, file, ','); !slices.Equal(got, want) {
				t.Errorf("prefixes of up to %d bits: %d rows, want %d, or other ones", deep, len(got), len(want))
			}
		}
	}
}
