package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"promostore/builder"
	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/synth"
)

// A server of some digits becomes live when its shards are there, and answers 421
// for the ids of other shards.
func TestServerOfDigits(t *testing.T) {
	byLast := format.Sharding{Rule: format.ShardLast, Shards: 16}
	records := gentest.Sequence(64)
	s := newServer(t)
	must(t, os.Mkdir(s.dir, 0o755))
	id := generation.IDOf(time.Now().Add(-time.Minute))
	paths := gentest.PublishSharded(t, s.dir, id, byLast, records)
	late := filepath.Join(t.TempDir(), "late")
	must(t, os.Rename(paths[7], late))
	for _, path := range paths[8:] {
		must(t, os.Remove(path))
	}
	t.Setenv("PROMO_DIGITS", "8-f")
	s.start(t, "--drain", "0s", "--digits", "0-7") // the flag overrides the environment
	missing := fmt.Sprintf("no servable generation: generation %s: incomplete: missing 1 of 16 shards: 7", id)
	if line := s.await(t, "no generation is live"); line["error"] != missing {
		t.Errorf("log: %v, want %s", line, missing)
	}
	s.want(t, "http", "/readyz", 503, `{"error":"`+missing+`"}`)
	st := s.status(t)
	if got := fmt.Sprintln(st["digits"], st["live"], st["missing_shards"], st["newest_verified"], st["refused"]); got != "0-7 <nil> [7] false 0\n" {
		t.Errorf("/status: %v", st)
	}
	s.want(t, "http", "/promotions/"+records[63].Key().String(), 503, `{"error":"no generation is live"}`)

	must(t, os.Rename(late, paths[7]))
	if line := s.await(t, "generation live"); line["records"] != 32.0 {
		t.Errorf("log: %v, want 32 records", line)
	}
	s.want(t, "http", "/readyz", 200, `{"status":"ready"}`)
	st = s.status(t)
	if got := fmt.Sprintln(st["digits"], st["missing_shards"], st["newest_verified"], st["shards"], st["shard_by"], st["records"]); got != "0-7 [] true 16 last 32\n" {
		t.Errorf("/status: %v", st)
	}
	for _, r := range records {
		id := r.Key().String()
		if byLast.DigitOf(r.Key()) < 8 {
			s.want(t, "http", "/promotions/"+id, 200, fmt.Sprintf(`{"id":"%s","price":1,"expiration_date":"0000-01-01 00:00:00"}`, id))
		} else {
			s.want(t, "http", "/promotions/"+id, 421, fmt.Sprintf(`{"error":"id %s: this server serves only ids whose last digit is in 0-7","digits":"0-7"}`, id))
		}
	}
}

// TestGroupsDivideIDs builds the same rows unsharded and into shards. Of each id, in
// every spelling, one of two servers answers like the server of the unsharded
// generation, and the other answers 421.
func TestGroupsDivideIDs(t *testing.T) {
	var csv bytes.Buffer
	_, err := synth.DataSet{Keys: synth.Keys{Seed: 1}, Rows: 300}.WriteTo(&csv)
	must(t, err)
	ids := []string{"00000000-0000-4000-8000-00000000000e", "e0000000-0000-4000-8000-000000000000"} // unknown
	for line := range strings.Lines(csv.String()) {
		if id, _, _ := strings.Cut(line, ","); id != "id" {
			ids = append(ids, strings.ToLower(id))
		}
	}
	build := func(dir string, s format.Sharding) {
		_, err := builder.Build(t.Context(), builder.Options{
			Inputs:   []builder.Input{builder.StreamInput("test", bytes.NewReader(csv.Bytes()))},
			Dir:      dir,
			Memory:   builder.MinMemory,
			Sharding: s,
		})
		must(t, err)
	}
	whole := newServer(t)
	build(whole.dir, format.Unsharded)
	whole.start(t, "--drain", "0s", "--digits", "0") // no group has an unsharded generation
	whole.await(t, "generation live")
	for _, sharding := range []format.Sharding{{Rule: format.ShardLast, Shards: 16}, {Rule: format.ShardFirst, Shards: 32}} {
		digits, groups := []string{"0-7", "8-f"}, []*server{newServer(t), newServer(t)}
		for i, s := range groups {
			build(s.dir, sharding)
			s.start(t, "--drain", "0s", "--digits", digits[i])
			s.await(t, "generation live")
		}
		for i, id := range ids {
			key, _, err := format.ParseKey([]byte(id))
			must(t, err)
			owner := sharding.DigitOf(key) / 8
			other := 1 - owner
			bare := strings.ReplaceAll(id, "-", "")
			text := []string{id, strings.ToUpper(id), bare, "%7B" + id + "%7d", "urn:uuid:" + id, strings.ToUpper(bare)}[i%6]
			code, body := whole.get(t, "http", "/promotions/"+text)
			if (code == 200) != (i >= 2) {
				t.Errorf("unsharded: %s: %d %s", text, code, body)
			}
			groups[owner].want(t, "http", "/promotions/"+text, code, body)
			if code, body := groups[other].get(t, "http", "/promotions/"+text); code != 421 || !strings.HasSuffix(body, `,"digits":"`+digits[other]+`"}`) {
				t.Errorf("digits %s: %s: %d %s", digits[other], text, code, body)
			}
		}
	}
}

func TestDigitsFromEnvironment(t *testing.T) {
	t.Setenv("PROMO_DIGITS", "f,8-e")
	s := start(t)
	if got := s.status(t)["digits"]; got != "8-f" {
		t.Errorf("digits %v, want 8-f", got)
	}
}
