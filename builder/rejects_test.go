package builder

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"promostore/internal/synth"
)

func TestBadRowPositionAndReason(t *testing.T) {
	const good = "172FFC14-D229-4C93-B06B-F48B8C095512,9.68,2022-06-04 06:01:20"
	id := good[:36]
	for _, tc := range []struct {
		row    string
		column int
		reason string
	}{
		{"x", 1, "1 field, not"},
		{strings.ReplaceAll(good, ",", ";"), 1, "is the delimiter ';'?"},
		{good + ",", 1, "4 fields"},
		{id + ",9.68", 1, "2 fields"},
		{strings.Replace(good, "D229", "G229", 1), 10, "want a hexadecimal digit"},
		{strings.Replace(good, "-", "_", 1), 9, "dash"},
		{good[1:], 8, "character 8"},
		{" " + good, 1, "character 1"},
		{id + ",1e5,2022-06-04 06:01:20", 39, "price"},
		{id + ",NaN,2022-06-04 06:01:20", 38, "price"},
		{id + ",,2022-06-04 06:01:20", 38, "no digits"},
		{id + ",12345678901234567,2022-06-04 06:01:20", 38, "17 digits"},
		{id + ",\"9.68,2022-06-04 06:01:20", 38, "quote"},
		{id + ",\"9.6\"8,2022-06-04 06:01:20", 43, "closing quote"},
		{id + ",1,2022-02-30 06:01:20", 48, "no day 30"},
		{id + ",1,2022-06-04 24:01:20", 51, "no hour 24"},
		{id + ",1,2022-06-04 06:01", 56, "16 characters"},
		{id + ",1,2", 41, "1 character, want"},
		{id + ",1,2022-06-04 06:01:20.5", 59, "fraction"},
		{id + ",1,2022-06-04 06:01:20 +0200 C3T", 67, "abbreviation"},
		{id + ",1,2022-06-04 06:01:20 +2500", 60, "no offset"},
		{id + ",1,2022-06-04T06:01:20", 59, "Z or an offset"},
		{id + ",1,2022-06-04 06:01:20UTC", 59, "'U'"},
		{id + ",1,2022-06-04 06:01:20 CEST", 60, "without an offset"},
		{id + ",0.30000000000000004,2022-06-04 06:01:20", 38, "17 digits"},
		{"{" + id + ",1,2022-06-04 06:01:20", 1, "character 1"},
		{"{" + id[:35] + "x},1,2022-06-04 06:01:20", 37, "hexadecimal digit"},
		{id + ",1,\"2022-06-04 06:01:20\x00\"", 60, `'\x00'`},
		{"\"" + id + "\",1,2022-02-30 06:01:20", 50, "no day 30"},
	} {
		dir := t.TempDir()
		data := "\xef\xbb\xbfid,price,expiration_date\r\n" + good + "\n\n" + tc.row + "\n" + good
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in.csv", []byte(data))}, Dir: dir, Memory: MinMemory})
		var bad *BadRowsError
		if !errors.As(err, &bad) {
			t.Errorf("%q: error %v", tc.row, err)
			continue
		}
		if got := bad.Rows[0]; bad.Count != 1 || got.Input != "in.csv" || got.Line != 4 || got.Column != tc.column || !strings.Contains(got.Reason, tc.reason) || got.Text != tc.row {
			t.Errorf("%q: %d bad rows, %+v; want column %d, %q", tc.row, bad.Count, got, tc.column, tc.reason)
		}
		wantFiles(t, dir, ".lock")
	}
}

// Line numbers and the first bad rows do not depend on chunks, inputs and workers.
func TestBadRowsAreInInputOrder(t *testing.T) {
	data := csvOf(t, synth.DataSet{Keys: synth.Keys{Seed: 1}, Rows: 3000})
	lines := bytes.SplitAfter(data, []byte("\n"))
	var want []string
	for i := 5; i < 3000; i += 61 {
		lines[i] = fmt.Appendf(nil, "bad %d\n", i)
		want = append(want, fmt.Sprintf("%d:bad %d", i%1000+1, i))
	}
	var inputs []Input
	for i := range 3 {
		inputs = append(inputs, stream(fmt.Sprint(i), bytes.Join(lines[i*1000:(i+1)*1000], nil)))
	}
	var rejects bytes.Buffer
	run := func(max int64) (Summary, error) {
		rejects.Reset()
		for i := range inputs {
			inputs[i] = stream(inputs[i].Name, bytes.Join(lines[i*1000:(i+1)*1000], nil))
		}
		return buildWith(t.Context(), tiny, Options{
			Inputs: inputs, Dir: t.TempDir(), Workers: 3, MaxBadRows: max, Rejects: &rejects,
		})
	}
	_, err := run(int64(len(want)) - 1)
	var bad *BadRowsError
	if !errors.As(err, &bad) || bad.Count != int64(len(want)) || len(bad.Rows) != 20 {
		t.Fatalf("error %v", err)
	}
	for i, r := range bad.Rows {
		if got := fmt.Sprintf("%d:%s", r.Line, r.Text); got != want[i] {
			t.Errorf("bad row %d is %s, want %s", i, got, want[i])
		}
	}
	sum, err := run(int64(len(want)))
	if err != nil || sum.BadRows != int64(len(want)) || sum.Records != 3000-int64(len(want)) {
		t.Fatalf("summary %+v, error %v", sum, err)
	}
	got, err := csv.NewReader(&rejects).ReadAll()
	if err != nil || len(got) != len(want)+1 {
		t.Fatalf("%d rejects, error %v", len(got), err)
	}
	for i, r := range got[1:] {
		if r[1]+":"+r[4] != want[i] {
			t.Errorf("reject %d is %q, want %s", i, r, want[i])
		}
	}
}

func TestLongRowIsBad(t *testing.T) {
	good := "172ffc14-d229-4c93-b06b-f48b8c095512,9.68,2022-06-04 06:01:20"
	for _, n := range []int{4095, 4096, 4097, 8192, 50_000} {
		for _, end := range []string{"", "\n", "\n" + good, "\r\n" + good + "\n"} {
			data := good + "\n" + strings.Repeat("x", n) + end
			sum, err := buildWith(t.Context(), tiny, Options{
				Inputs: []Input{stream("a", []byte(data))}, Dir: t.TempDir(), MaxBadRows: 1,
			})
			want := 1 + int64(strings.Count(data, good))
			if err != nil || sum.BadRows != 1 || sum.Rows != want {
				t.Errorf("%d bytes, then %q: %+v, error %v", n, end, sum, err)
			}
		}
	}
}

func TestHeaderAfterBlankLines(t *testing.T) {
	const good = "172ffc14-d229-4c93-b06b-f48b8c095512,9.68,2022-06-04 06:01:20\n"
	data := "\xef\xbb\xbf\n\r\nID,PRICE,EXPIRATION_DATE\r\n" + good + "x\n"
	sum, _ := mustBuild(t, inMemory, Options{Inputs: []Input{stream("a", []byte(data))}, MaxBadRows: 1})
	if sum.Rows != 2 || sum.Records != 1 || sum.BadRows != 1 {
		t.Errorf("summary %+v", sum)
	}
}

// A blocked Write to Options.Rejects does not block the end of a build.
func TestCancelWithBlockedRejects(t *testing.T) {
	r, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := Build(ctx, Options{
			Inputs: []Input{stream("a", bytes.Repeat([]byte("bad\n"), 100_000))}, Dir: t.TempDir(), Memory: MinMemory, Rejects: w, MaxBadRows: 1_000_000,
		})
		done <- err
	}()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	r.Close() // ends the blocked Write
}
