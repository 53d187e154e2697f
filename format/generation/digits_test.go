package generation_test

import (
	"fmt"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
)

// TestDigits parses the text of every set of digits, in both cases.
func TestDigits(t *testing.T) {
	for set := 1; set < 1<<16; set++ {
		d := generation.Digits(set)
		text := d.String()
		for _, s := range []string{text, strings.ToUpper(text)} {
			if got, err := generation.ParseDigits(s); got != d || err != nil {
				t.Fatalf("%q: %v, %v, want %v", s, got, err, d)
			}
		}
		if got := string(d.Append([]byte("x"))); got != "x"+text {
			t.Fatalf("Append: %q, want %q", got, "x"+text)
		}
	}
	for text, want := range map[string]string{"0": "0", "1,0": "0-1", "f,e,0-3,2-5": "0-5,e-f", "0-f": "0-f", "A-C": "a-c", "7-7": "7"} {
		if d, err := generation.ParseDigits(text); err != nil || d.String() != want {
			t.Errorf("%q: %v, %v, want %s", text, d, err, want)
		}
	}
	for _, text := range []string{"", ",", "0,", "g", "7-0", "0-", "-7", "0-7-f", "0x", "00", " 0", "0 -7", "0;1", "ſ", "0-ff"} {
		if d, err := generation.ParseDigits(text); err == nil {
			t.Errorf("%q is accepted as %v", text, d)
		}
	}
}

// TestDigitsOwnShards checks that each shard is owned by exactly the sets with the
// digit that its ids have.
func TestDigitsOwnShards(t *testing.T) {
	for _, s := range []format.Sharding{{Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardLast, Shards: 256}, {Rule: format.ShardFirst, Shards: 16}, {Rule: format.ShardFirst, Shards: 4096}} {
		for digit := range 16 {
			d, err := generation.ParseDigits(fmt.Sprintf("%x", digit))
			if err != nil {
				t.Fatal(err)
			}
			owned := 0
			for shard := range s.Shards {
				key := format.Key{Hi: uint64(shard) << (64 - s.Bits()), Lo: uint64(shard)}
				if d.Owns(s, shard) != (s.DigitOf(key) == digit) || !generation.AllDigits.Owns(s, shard) {
					t.Fatalf("%+v: shard %d, digit %x", s, shard, digit)
				}
				if d.Owns(s, shard) {
					owned++
				}
			}
			if owned != int(s.Shards)/16 {
				t.Errorf("%+v: %d shards with the digit %x", s, owned, digit)
			}
		}
	}
	if d := generation.Digits(1); !d.Owns(format.Unsharded, 0) || !generation.Digits(1<<15).Owns(format.Unsharded, 0) {
		t.Error("an unsharded generation is not owned")
	}
}

func FuzzParseDigits(f *testing.F) {
	f.Add("0-7,a,c-f")
	f.Add("0-f")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := generation.ParseDigits(text)
		if err != nil {
			return
		}
		if d == 0 || strings.Trim(text, "0123456789abcdefABCDEF,-") != "" {
			t.Errorf("ParseDigits(%q) = %s", text, d)
		}
		if again, err := generation.ParseDigits(d.String()); err != nil || again != d {
			t.Errorf("ParseDigits(%q) = %s, %v, want %s", d.String(), again, err, d)
		}
	})
}
