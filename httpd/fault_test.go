package httpd_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/httpd"
	"promostore/internal/gentest"
	"promostore/reader"
)

// exampleOff is the offset of the example in the file of rows, after its ID. Its
// record is the second.
const exampleOff = format.HeaderLen + format.RecordLen + 16

// TestTruncatedFileDemotesGeneration truncates the file of the live generation that
// has the example. Reading a mapping of it raises SIGBUS.
func TestTruncatedFileDemotesGeneration(t *testing.T) {
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		for _, s := range []format.Sharding{format.Unsharded, byLast, byFirst} {
			t.Run(access.String()+" "+s.Rule.String(), func(t *testing.T) { testTruncatedFile(t, access, s) })
		}
	}
}

func testTruncatedFile(t *testing.T, access reader.Access, s format.Sharding) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{Access: access})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	changed := append([]row{{exampleID, "1.00", "2030-01-01 00:00:00"}}, rows[1:]...)
	paths := publishRows(t, f.dir, genID(1), s, generation.AllDigits, changed)
	f.poll(t)
	f.listen(t)
	f.get(t, "/promotions/"+exampleID).want(t, 200, promotionJSON(exampleID, "1.00", "2030-01-01 00:00:00"))

	key, _ := reader.ParseID([]byte(exampleID))
	must(t, os.Truncate(paths[s.ShardOf(key)], format.HeaderLen))
	ask := func() answer { return f.get(t, "/promotions/"+exampleID) }
	if s == byFirst {
		ask = func() answer {
			return f.do(t, "POST", "/promotions/lookup", `{"ids":["`+rows[1].id+`","`+exampleID+`","`+rows[2].id+`"]}`)
		}
	}
	a := ask().want(t, 503, `{"error":"the generation cannot be read"}`)
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	reason := "no servable generation: " + genID(1).String() + ": a file cannot be read"
	if a := f.get(t, "/readyz"); a.code != 503 || !strings.HasPrefix(a.body, `{"error":"`+reason) {
		t.Errorf("/readyz: %d %s, want 503 %s", a.code, a.body, reason)
	}
	f.poll(t)
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	f.get(t, "/readyz").want(t, 200, `{"status":"ready"}`)
	if got := f.metric(t, `promoserve_generation_swaps_total{result="fault"}`); got != "1" {
		t.Errorf("%s faults counted, want 1", got)
	}
	if want := `msg="generation demoted" generation=` + genID(1).String() + " file=" + logValue(paths[s.ShardOf(key)]); !strings.Contains(f.log.String(), want) {
		t.Errorf("the log does not contain %s:\n%s", want, f.log)
	}
}

// TestDamagedRecordAnswers500 serves a file with a damaged block that was not
// verified.
func TestDamagedRecordAnswers500(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{IndexOnly: true})
	path := publish(t, f.dir, genID(0), rows)
	gentest.Overwrite(t, path, exampleOff, bytes.Repeat([]byte{0xFF}, format.RecordLen-16))
	f.poll(t)
	f.listen(t)
	f.get(t, "/promotions/"+exampleID).want(t, 500, `{"error":"the generation is damaged"}`)
	f.get(t, "/promotions/"+rows[4].id).want(t, 200, promotionJSON(rows[4].id, rows[4].price, "2018-10-28 02:30:00"))
	f.do(t, "POST", "/promotions/lookup", `{"ids":["`+exampleID+`"]}`).want(t, 500, `{"error":"the generation is damaged"}`)
	if got := f.metric(t, `promoserve_lookups_total{result="error"}`); got != "2" {
		t.Errorf("%s failed lookups counted, want 2", got)
	}
	if !strings.Contains(f.log.String(), exampleID) {
		t.Errorf("log:\n%s", f.log)
	}
}

// TestDamageAfterVerifyDemotesGeneration damages the file of a generation that
// was verified.
func TestDamageAfterVerifyDemotesGeneration(t *testing.T) {
	f := serveSocket(t, httpd.Options{})
	changed := append([]row{{exampleID, "1.00", "2030-01-01 00:00:00"}}, rows[1:]...)
	path := publish(t, f.dir, genID(1), changed)
	f.poll(t)
	gentest.Overwrite(t, path, exampleOff, bytes.Repeat([]byte{0xFF}, 16))
	f.get(t, "/promotions/"+exampleID).want(t, 503, `{"error":"the generation cannot be read"}`)
	f.poll(t)
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
}

// TestOverwrittenFileAnswers503 overwrites the live file with another good one
// that has the same size and modification time. Before the next poll, requests
// for an ID that only the first file has must not be answered 404.
func TestOverwrittenFileAnswers503(t *testing.T) {
	const otherID = "172FFC14-D229-4C93-B06B-F48B8C095513"
	const verifying = `{"error":"the generation is being verified again"}`
	other := slices.Clone(rows)
	other[0].id = otherID
	content, err := os.ReadFile(publish(t, t.TempDir(), genID(0), other))
	must(t, err)
	for _, access := range []reader.Access{reader.AccessMmap, reader.AccessPread} {
		t.Run(access.String(), func(t *testing.T) {
			f := newFixture(t, httpd.Options{}, reader.StoreOptions{Access: access})
			path := publish(t, f.dir, genID(0), rows)
			f.poll(t)
			f.listen(t)
			f.get(t, "/promotions/"+otherID).want(t, 404, unknownJSON)
			before, err := os.Stat(path)
			must(t, err)
			for after := before; after.Sys().(*syscall.Stat_t).Ctim == before.Sys().(*syscall.Stat_t).Ctim; {
				// Before Linux 6.13, two changes in 10 ms can have the same time.
				gentest.Overwrite(t, path, 0, content)
				must(t, os.Chtimes(path, before.ModTime(), before.ModTime()))
				after, err = os.Stat(path)
				must(t, err)
			}
			for _, a := range []answer{
				f.get(t, "/promotions/"+exampleID),
				f.do(t, "POST", "/promotions/lookup", `{"ids":["`+rows[1].id+`","`+exampleID+`"]}`),
			} {
				a.want(t, 503, verifying)
				if a.header.Get("Retry-After") == "" {
					t.Error("no Retry-After")
				}
			}
			if got := strings.Count(f.log.String(), "generation file changed"); got != 1 {
				t.Errorf("%d warnings, want 1; log:\n%s", got, f.log)
			}
			f.poll(t)
			f.get(t, "/promotions/"+exampleID).want(t, 404, unknownJSON)
			f.get(t, "/promotions/"+otherID).want(t, 200, strings.Replace(exampleJSON, exampleID, otherID, 1))
			if got := f.metric(t, `promoserve_generation_swaps_total{result="fault"}`); got != "1" {
				t.Errorf("%s faults counted, want 1", got)
			}
		})
	}
}

// TestTouchedFile changes the times of the live file. Promotions are served,
// and until the next poll, unknown IDs are answered 503.
func TestTouchedFile(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	path := publish(t, f.dir, genID(0), rows)
	f.poll(t)
	f.listen(t)
	must(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)))
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	f.get(t, "/promotions/172FFC14-D229-4C93-B06B-F48B8C095513").want(t, 503, `{"error":"the generation is being verified again"}`)
	f.get(t, "/readyz").want(t, 200, `{"status":"ready"}`)
	f.poll(t)
	f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	f.get(t, "/promotions/172FFC14-D229-4C93-B06B-F48B8C095513").want(t, 404, unknownJSON)
	if !strings.Contains(f.log.String(), "generation file is unchanged") {
		t.Errorf("log:\n%s", f.log)
	}
}

func TestDamagedGenerationIsRefused(t *testing.T) {
	f := newFixture(t, httpd.Options{}, reader.StoreOptions{})
	publish(t, f.dir, genID(0), rows)
	f.poll(t)
	path := publish(t, f.dir, genID(1), rows)
	must(t, os.Truncate(path, format.HeaderLen+100))
	f.poll(t)
	f.listen(t)
	a := f.get(t, "/promotions/"+exampleID).want(t, 200, exampleJSON)
	if got := a.header.Get("X-Promotions-Generation"); got != genID(0).String() {
		t.Errorf("generation %s is live, want %s", got, genID(0))
	}
	if got := f.metric(t, `promoserve_generation_swaps_total{result="refused"}`); got != "1" {
		t.Errorf("%s refused generations counted, want 1", got)
	}
	if !strings.Contains(f.log.String(), "generation refused") {
		t.Errorf("log:\n%s", f.log)
	}
}
