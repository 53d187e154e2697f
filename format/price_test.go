package format_test

import (
	"encoding/json"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"promostore/format"

	"pgregory.net/rapid"
)

var priceSyntax = regexp.MustCompile(`^([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))$`)

// zeroSyntax matches a zero with an exponent.
var zeroSyntax = regexp.MustCompile(`^([+-]?)(0*)(?:\.(0*))?[eE]([+-]?[0-9]+)$`)

// pricePlain returns the canonical form of a price, computed with priceSyntax and
// package strings only. ok is false if text is not a price.
func pricePlain(text string) (plain string, ok bool) {
	if m := zeroSyntax.FindStringSubmatch(text); m != nil && m[2]+m[3] != "" && len(m[2])+len(m[3]) <= format.MaxDigits {
		exponent, err := strconv.ParseInt(m[4], 10, 16)
		decimals := int64(len(m[3])) - exponent
		if err != nil || decimals > format.MaxDigits+format.MaxZeros {
			return "", false
		}
		plain = strings.TrimPrefix(m[1], "+") + "0"
		if decimals > 0 {
			plain += "." + strings.Repeat("0", int(decimals))
		}
		return plain, true
	}
	m := priceSyntax.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	integer, fraction := strings.TrimLeft(m[2], "0"), m[3]+m[4]
	digits := len(integer) + len(strings.TrimRight(fraction, "0"))
	zeros := len(integer) + len(fraction) - max(digits, format.MaxDigits)
	if digits > format.MaxDigits || zeros > format.MaxZeros {
		return "", false
	}
	if integer == "" {
		integer = "0"
	}
	if fraction != "" {
		integer += "." + fraction
	}
	return strings.TrimPrefix(m[1], "+") + integer, true
}

// checkPrice compares ParsePrice and AppendText with regexp and math/big.
func checkPrice(tb rapid.TB, text string) {
	tb.Helper()
	p, err := format.ParsePrice([]byte(text))
	plain, ok := pricePlain(text)
	if !ok {
		if err == nil {
			tb.Fatalf("ParsePrice(%q) = %s, want an error", text, p)
		}
		checkSyntaxError(tb, text, err)
		return
	}
	if err != nil {
		tb.Fatalf("ParsePrice(%q): %v", text, err)
	}
	if got := p.String(); got != plain {
		tb.Fatalf("ParsePrice(%q) = %s, want %s", text, got, plain)
	}
	_, fraction, _ := strings.Cut(plain, ".")
	if p.Scale+p.Zeros != len(fraction) || p.Digits > 1e16-1 || p.Zeros > 0 && p.Digits < 1e15 && p.Scale < format.MaxScale || p.Negative != strings.HasPrefix(text, "-") {
		tb.Fatalf("ParsePrice(%q) = %+v", text, p)
	}
	want, _ := new(big.Rat).SetString(plain)
	if got := priceRat(p); got.Cmp(want) != 0 {
		tb.Fatalf("ParsePrice(%q) = %s, want %s", text, got, want)
	}
	for decimals := range format.MaxScale + format.MaxZeros + 2 {
		checkDecimals(tb, p, decimals)
	}
}

// checkDecimals checks that AppendText truncates p to decimals.
func checkDecimals(tb rapid.TB, p format.Price, decimals int) {
	tb.Helper()
	got := string(p.AppendText(nil, decimals))
	if !json.Valid([]byte(got)) {
		tb.Fatalf("AppendText(%d) of %s: %s is not JSON", decimals, p, got)
	}
	_, fraction, _ := strings.Cut(got, ".")
	if want := min(decimals, p.Scale+p.Zeros); len(fraction) != want {
		tb.Fatalf("AppendText(%d) of %s: %s, want %d decimals", decimals, p, got, want)
	}
	// Quo of big.Int truncates toward zero.
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	want := new(big.Rat).Mul(priceRat(p), new(big.Rat).SetInt(ten))
	want.SetFrac(new(big.Int).Quo(want.Num(), want.Denom()), ten)
	if value, _ := new(big.Rat).SetString(got); value.Cmp(want) != 0 {
		tb.Fatalf("AppendText(%d) of %s: %s, want %s", decimals, p, got, want.RatString())
	}
}

func priceRat(p format.Price) *big.Rat {
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p.Scale)), nil)
	r := new(big.Rat).SetFrac(new(big.Int).SetUint64(p.Digits), ten)
	if p.Negative {
		r.Neg(r)
	}
	return r
}

func TestParsePriceSpellings(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		checkPrice(t, text)
		if p, err := format.ParsePrice([]byte(text)); err != nil || p.String() != want {
			t.Errorf("ParsePrice(%q) = %s, %v, want %s", text, p, err, want)
		}
	}
	f("9.68", "9.68")
	f("9.680", "9.680")
	f("+1", "1")
	f("007", "7")
	f("000", "0")
	f(".5", "0.5")
	f("5.", "5")
	f("-0", "-0")
	f("-0.00", "-0.00")
	f("-.0", "-0.0")
	f("0000000000000000000000001", "1")
	f("00000000000000000000.0000000000000001", "0.0000000000000001")
	f("9999999999999999", "9999999999999999")
	f("9999999999999999.", "9999999999999999")
	f("-999999999.9999999", "-999999999.9999999")
	f("0.9999999999999999", "0.9999999999999999")
	f("9.680000000000000000", "9.680000000000000000") // decimal(38,18)
	f("-1.0000000000000000", "-1.0000000000000000")
	f("0.00000000000000000", "0.00000000000000000")
	f("9999999999999999.0", "9999999999999999.0")
	f("12345678901234.560000000000000000", "12345678901234.560000000000000000")
	f("1."+strings.Repeat("0", 15+63), "1."+strings.Repeat("0", 15+63))
	f(strings.Repeat("0", 1000)+".5"+strings.Repeat("0", 15+63), "0.5"+strings.Repeat("0", 15+63))
	f("0E-18", "0.000000000000000000") // a zero of decimal(38,18) in Java
	f("-0.00E-1", "-0.000")
	f("0e+2", "0")
}

func TestParsePriceErrorOffset(t *testing.T) {
	f := func(text string, offset int) {
		t.Helper()
		checkPrice(t, text)
		_, err := format.ParsePrice([]byte(text))
		if got := checkSyntaxError(t, text, err); got != offset {
			t.Errorf("ParsePrice(%q): offset %d, want %d", text, got, offset)
		}
	}
	f("", 0)
	f(".", 1)
	f("+", 1)
	f("-.", 2)
	f("+-1", 1)
	f("1e5", 1)
	f("NaN", 0)
	f("Inf", 0)
	f(" 1", 0)
	f("1 ", 1)
	f("1,5", 1)
	f("1.2.3", 3)
	f("0x10", 1)
	f("1_000", 1)
	f("٣", 0)
	f("9.6\x00", 3)
	f("10000000000000000", 0) // the offset of the whole number
	f("-1.0000000000000001", 1)
	f("0.30000000000000004", 0)
	f("12345678901234567.0", 0)
	f("1."+strings.Repeat("0", 15+64), 0)
	f("0E-80", 1)
	f("0E", 1)
	f("0E1x", 1)
	f("E-18", 0)
	f("18446744073709551616E-1", 20)
	f("1E-18", 1)
	f("00000000000000000E-1", 17)
	f("18446744073709551616", 0) // 2^64
	f(strings.Repeat("9", 1000), 0)
}

// genPriceText draws the text of a valid price.
func genPriceText() *rapid.Generator[string] {
	return rapid.StringMatching(`[+-]?(0{0,3}[0-9]{1,8}(\.[0-9]{0,8}0{0,20})?|\.[0-9]{1,16}0{0,20})`)
}

func TestParsePrice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkPrice(t, genPriceText().Draw(t, "text")) })
	rapid.Check(t, func(t *rapid.T) {
		checkPrice(t, rapid.StringMatching(`[-+]?0{0,3}\.?0{0,20}[eE][-+]?[0-9]{1,3}`).Draw(t, "zero"))
	})
	rapid.Check(t, func(t *rapid.T) { checkPrice(t, rapid.StringMatching(`[-+.0-9e ]{0,20}`).Draw(t, "text")) })
}

func TestParsePriceWrongByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(genPriceText().Draw(t, "text"))
		at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
		text[at] = rapid.SampledFrom([]byte("/:,_ \x00\xb0\xff")).Draw(t, "byte")
		_, err := format.ParsePrice(text)
		if got := checkSyntaxError(t, string(text), err); got != at {
			t.Fatalf("ParsePrice(%q): offset %d, want %d", text, got, at)
		}
	})
}

func FuzzParsePrice(f *testing.F) {
	for _, text := range []string{
		"9.68", "60.683466", "+1", "007", ".5", "5.", "-0.00", "1e5", "NaN", " 1", "", ".",
		"9999999999999999", "10000000000000000", "0.0000000000000001",
		"9.680000000000000000", "0.30000000000000004", "0E-18", "0.00e+1",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { checkPrice(t, text) })
}
