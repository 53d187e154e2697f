package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"promostore/cmd/internal/program"
)

// promobuild runs one command in this process.
func promobuild(t *rapid.T, stdin string, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(context.Background(), append([]string{"promobuild"}, args...), strings.NewReader(stdin), &out, &errs)
	return code, out.String(), errs.String()
}

// A promotion is a generated row in its canonical spelling.
type promotion struct{ id, price, date string }

func (p promotion) row() string { return p.id + "," + p.price + "," + p.date }

func drawPromotion(t *rapid.T) promotion {
	raw := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id")
	if rapid.Bool().Draw(t, "short") {
		copy(raw, make([]byte, 15)) // repeats ids, and makes ids that share their first bytes
	}
	text := hex.EncodeToString(raw)
	id := strings.Join([]string{text[:8], text[8:12], text[12:16], text[16:20], text[20:]}, "-")
	if rapid.Bool().Draw(t, "upper") {
		id = strings.ToUpper(id)
	}
	digits := rapid.Uint64Max(9_999_999_999_999_999).Draw(t, "digits")
	scale := rapid.IntRange(0, 16).Draw(t, "scale")
	price := new(big.Rat).SetFrac(new(big.Int).SetUint64(digits), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)).FloatString(scale)
	if rapid.IntRange(0, 5).Draw(t, "negative") == 0 {
		price = "-" + price
	}
	day := fmt.Sprintf("%04d-%02d-%02d", rapid.IntRange(0, 9999).Draw(t, "year"), rapid.IntRange(1, 12).Draw(t, "month"), rapid.IntRange(1, 28).Draw(t, "day"))
	clock := fmt.Sprintf("%02d:%02d:%02d", rapid.IntRange(0, 23).Draw(t, "hour"), rapid.IntRange(0, 59).Draw(t, "minute"), rapid.IntRange(0, 59).Draw(t, "second"))
	date := rapid.SampledFrom([]string{
		day + " " + clock, day + " " + clock + " +0200 CEST", day + " " + clock + " +0100 CET", day + " " + clock + " -0330 -0330",
		day + " " + clock + " -0000", day + "T" + clock + "Z", day + "T" + clock + "+05:45",
	}).Draw(t, "layout")
	return promotion{id, price, date}
}

// respell returns p in another accepted spelling.
func respell(t *rapid.T, p promotion) string {
	if rapid.IntRange(0, 3).Draw(t, "mixed") == 0 && strings.ToLower(p.id) == p.id && strings.ContainsAny(p.id, "abcdef") {
		i := strings.LastIndexAny(p.id, "abcdef")
		if strings.IndexAny(p.id, "abcdef") < i { // else the letters would all be capitals
			p.id = p.id[:i] + strings.ToUpper(p.id[i:])
		}
	}
	if !strings.HasPrefix(p.price, "-") {
		p.price = rapid.SampledFrom([]string{"", "+", "00", "+0"}).Draw(t, "front") + p.price
	}
	if !strings.Contains(p.price, ".") && rapid.Bool().Draw(t, "point") {
		p.price += "."
	}
	fields := []string{p.id, p.price, p.date}
	for i := range fields {
		if rapid.IntRange(0, 3).Draw(t, "quoted") == 0 {
			fields[i] = `"` + fields[i] + `"`
		}
	}
	return strings.Join(fields, ",") + rapid.SampledFrom([]string{"\n", "\r\n", "\n\n"}).Draw(t, "end")
}

// drawShards returns flags that divide a generation, or none.
func drawShards(t *rapid.T) []string {
	return rapid.SampledFrom([][]string{nil, nil, {"--shards", "16"}, {"--shards", "16", "--shard-by", "first"}, {"--shards", "64"}}).Draw(t, "shards")
}

// dump returns the rows of the input, sorted. get finds each of them, and no id that
// differs in one bit.
func TestDumpAndGetReturnTheInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		promotions := rapid.SliceOfN(rapid.Custom(drawPromotion), 1, 300).Draw(t, "promotions")
		want := map[string]promotion{} // by the id in lower case, which is the order of the file
		var in strings.Builder
		for _, p := range promotions {
			if strings.ToUpper(p.id) == strings.ToLower(p.id) {
				p.id = strings.ToLower(p.id)
			}
			want[strings.ToLower(p.id)] = p
			in.WriteString(respell(t, p))
		}
		dir, err := os.MkdirTemp("", "promobuild")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		args := append([]string{"build", "--quiet", "--memory", "64MiB", "--data", dir, "-"}, drawShards(t)...)
		if code, _, errs := promobuild(t, in.String(), args...); code != program.ExitDone {
			t.Fatalf("build: exit code %d: %s", code, errs)
		}

		code, dumped, errs := promobuild(t, "", "dump", dir)
		var rows strings.Builder
		for _, id := range slices.Sorted(maps.Keys(want)) {
			rows.WriteString(want[id].row() + "\n")
		}
		if code != program.ExitDone || dumped != rows.String() {
			t.Fatalf("dump: exit code %d: %s\ngot  %q\nwant %q", code, errs, dumped, rows.String())
		}
		if records, err := csv.NewReader(strings.NewReader(dumped)).ReadAll(); err != nil || len(records) != len(want) {
			t.Fatalf("encoding/csv reads %d rows of the dump, want %d: %v", len(records), len(want), err)
		}

		for id, p := range want {
			code, out, errs := promobuild(t, "", "get", dir, id)
			var got struct {
				ID    string      `json:"id"`
				Price json.Number `json:"price"`
				Date  string      `json:"expiration_date"`
			}
			if err := json.Unmarshal([]byte(out), &got); code != program.ExitDone || err != nil {
				t.Fatalf("get %s: exit code %d, %v: %s", id, code, err, errs)
			}
			wall := strings.Replace(p.date[:19], "T", " ", 1)
			if got.ID != p.id || got.Price.String() != p.price || got.Date != wall {
				t.Fatalf("get %s: %s, want %s", id, out, p.row())
			}
			raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
			if err != nil {
				t.Fatal(err)
			}
			bit := rapid.IntRange(0, 127).Draw(t, "bit")
			raw[bit/8] ^= 1 << (bit % 8)
			other := fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
			if _, there := want[other]; there {
				continue
			}
			if code, out, _ := promobuild(t, "", "get", dir, other); code != program.ExitFailed || out != "" {
				t.Fatalf("get %s, which is missing: exit code %d, %q", other, code, out)
			}
		}
	})
}

// A directory selects its newest generation. verify reports a truncated one.
func TestDirectorySelectsNewestGeneration(t *testing.T) {
	dir := t.TempDir()
	for i, price := range []string{"1.10", "2.20"} {
		in := "172FFC14-D229-4C93-B06B-F48B8C095512," + price + ",2022-06-04 06:01:20\n"
		id := fmt.Sprintf("20260101T00000000%dZ", i)
		if code := run(context.Background(), []string{"promobuild", "build", "--quiet", "--data", dir, "--generation", id, "-"}, strings.NewReader(in), io.Discard, os.Stderr); code != program.ExitDone {
			t.Fatalf("build: exit code %d", code)
		}
	}
	var out bytes.Buffer
	if code := run(context.Background(), []string{"promobuild", "get", dir, "172ffc14d2294c93b06bf48b8c095512"}, nil, &out, os.Stderr); code != program.ExitDone || !strings.Contains(out.String(), `"price":2.20,`) {
		t.Errorf("get: exit code %d: %s", code, out.String())
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.pgen"))
	if err != nil || len(names) != 2 {
		t.Fatalf("%d files, %v", len(names), err)
	}
	if err := os.Truncate(names[1], 5000); err != nil {
		t.Fatal(err)
	}
	out.Reset()
	var errs bytes.Buffer
	if code := run(context.Background(), []string{"promobuild", "verify", dir}, nil, &out, &errs); code != program.ExitFailed || !strings.Contains(errs.String(), "5000") {
		t.Errorf("verify of a truncated file: exit code %d: %s", code, errs.String())
	}
}
