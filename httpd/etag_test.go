package httpd_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"promostore/httpd"
)

func TestIfNoneMatch(t *testing.T) {
	f := serveMemory(t, rows)
	path := "/promotions/" + exampleID
	tag := f.get(t, path).header.Get("ETag")
	other := f.get(t, "/promotions/"+rows[1].id).header.Get("ETag")
	suffixed := func(suffix string) string { return strings.TrimSuffix(tag, `"`) + suffix + `"` }
	for _, list := range []string{tag, "W/" + tag, "*", ` "x" , ` + tag, `"a,b",` + other + ",W/" + tag,
		suffixed("-gzip"), "W/" + suffixed("-br"), other + ", " + suffixed("--gzip"), suffixed("--zstd"), suffixed("-deflate")} {
		a := f.get(t, path, "If-None-Match", list).want(t, 304, "")
		if a.header.Get("ETag") != tag || a.header.Get("X-Promotions-Generation") != genID(0).String() {
			t.Errorf("If-None-Match: %s: %v", list, a.header)
		}
		f.do(t, "HEAD", path, "", "If-None-Match", list).want(t, 304, "")
	}
	f.get(t, path, "If-None-Match", other, "If-None-Match", tag).want(t, 304, "")
	for _, list := range []string{other, "", strings.Trim(tag, `"`), tag[:10], "x, " + tag,
		suffixed("gzip"), suffixed("-gzipx"), suffixed("-"), suffixed("---gzip"), suffixed("x-gzip"), suffixed("-identity"), strings.Replace(other, `"`, `-gzip"`, 2)} {
		f.get(t, path, "If-None-Match", list).want(t, 200, exampleJSON)
	}
	f.get(t, "/promotions/1", "If-None-Match", "*").want(t, 404, unknownJSON)

	// The same record with another index in another dictionary of styles.
	changed := append([]row{{"11111111-1111-1111-1111-111111111111", "1", "2018-10-28T02:30:00+14:00"}}, rows...)
	changed[2].price = "60.683467"
	publish(t, f.dir, genID(1), changed)
	f.poll(t)
	a := f.get(t, path, "If-None-Match", tag).want(t, 304, "")
	if got := a.header.Get("X-Promotions-Generation"); got != genID(1).String() {
		t.Errorf("generation %q", got)
	}
	if a := f.get(t, "/promotions/"+rows[1].id, "If-None-Match", other); a.code != 200 {
		t.Errorf("a changed record answers %d, want 200", a.code)
	}
}

// TestETagIdentifiesBody checks that the tags of similar bodies differ, and that
// a tag remains the same in every release.
func TestETagIdentifiesBody(t *testing.T) {
	seen := map[string]string{}
	add := func(body string) {
		tag := string(httpd.AppendETag(nil, []byte(body)))
		if other, ok := seen[tag]; ok || len(tag) != len(`"0123456789abcdef"`) {
			t.Errorf("%q and %q have the tag %s", body, other, tag)
		}
		seen[tag] = body
	}
	add(exampleJSON)
	if got := seen[`"775e3ace7a91741c"`]; got != exampleJSON {
		t.Errorf("the tag of the example differs from that of other releases")
	}
	for i := range exampleJSON {
		add(exampleJSON[:i])
		for c := range 256 {
			if byte(c) != exampleJSON[i] {
				add(exampleJSON[:i] + string([]byte{byte(c)}) + exampleJSON[i+1:])
			}
		}
	}
	add(exampleJSON + "\x00")
	for price := range 100_000 {
		add(promotionJSON(rows[1].id, fmt.Sprint(price), "2022-06-04 06:01:20"))
	}
}

func FuzzIfNoneMatch(f *testing.F) {
	tag := httpd.AppendETag(nil, []byte(exampleJSON))
	f.Add(string(tag))
	f.Add(`W/"x", ` + string(tag))
	f.Add("*")
	f.Add(`"`)
	f.Add(`"0123456789abcdef-gzip"`)
	f.Fuzz(func(t *testing.T, list string) {
		got := httpd.MatchesETag([]byte(list), tag)
		if !strings.Contains(list, string(tag[:len(tag)-1])) && strings.Trim(list, " \t") != "*" && got {
			t.Errorf("%q matches %s", list, tag)
		}
		// A list remains one when the tag is appended.
		if !bytes.ContainsAny([]byte(list), "\"W*/") && strings.Trim(list, " \t,") == "" && !httpd.MatchesETag([]byte(list+","+string(tag)), tag) {
			t.Errorf("%q followed by the tag does not match", list)
		}
	})
}
