package format_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"promostore/format"
)

// benchTexts is the number of different texts that a parser reads in turn. It is
// too high for the branch predictor to learn them.
const benchTexts = 1 << 10

// makeTexts returns texts that follow each other in memory, like in a file.
func makeTexts(text func(*rand.Rand) string) (texts [benchTexts][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	var buf []byte
	for range texts {
		buf = append(buf, text(rng)...)
	}
	rng = rand.New(rand.NewPCG(1, 2))
	for i := range texts {
		n := len(text(rng))
		texts[i], buf = buf[:n:n], buf[n:]
	}
	return texts
}

func BenchmarkParseKey(b *testing.B) {
	texts := makeTexts(func(rng *rand.Rand) string {
		return format.Key{Hi: rng.Uint64(), Lo: rng.Uint64()}.String()
	})
	for i := 0; b.Loop(); i++ {
		k, upper, err := format.ParseKey(texts[i%benchTexts])
		if err != nil || upper {
			b.Fatal(k, err)
		}
	}
}

func BenchmarkParsePrice(b *testing.B) {
	texts := makeTexts(func(rng *rand.Rand) string {
		return fmt.Sprintf("%d.%06d", rng.IntN(100), rng.IntN(1e6)) // like a real data set
	})
	for i := 0; b.Loop(); i++ {
		p, err := format.ParsePrice(texts[i%benchTexts])
		if err != nil || p.Negative {
			b.Fatal(p, err)
		}
	}
}

func BenchmarkParseDate(b *testing.B) {
	texts := makeTexts(func(rng *rand.Rand) string {
		return fmt.Sprintf("2018-%02d-%02d %02d:%02d:%02d +0200 CEST",
			1+rng.IntN(12), 1+rng.IntN(28), rng.IntN(24), rng.IntN(60), rng.IntN(60))
	})
	for i := 0; b.Loop(); i++ {
		seconds, _, _, err := format.ParseDate(texts[i%benchTexts])
		if err != nil || seconds == 0 {
			b.Fatal(seconds, err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	r := format.MakeRecord(format.Key{Hi: 0x172FFC14D2294C93, Lo: 0xB06BF48B8C095512}, true,
		format.Price{Digits: 968, Scale: 2}, 63821634080, 0)
	styles := []format.TimestampStyle{{Layout: format.LayoutWall}}
	buf := make([]byte, 0, format.MaxJSONLen)
	b.ReportAllocs()
	for b.Loop() {
		format.DefaultJSONOptions.AppendJSON(buf, &r, styles)
	}
}
