package page

import (
	"strings"
	"testing"
	"time"

	"promostore/web"
)

func ptr[T any](v T) *T { return &v }

func sample() *View {
	v := &View{
		Program: "promobuild updater", Now: time.Date(2026, 11, 27, 10, 12, 0, 0, time.UTC),
		Status: web.Status{
			Version: "1.4.0", Uptime: 86400 * 3.2, Live: ptr("20261127T093000000Z"), Pinned: ptr("20261127T093000000Z"), Newest: ptr("20261127T100000000Z"),
			Records: ptr(uint64(199900)), Bytes: ptr(int64(6431232)), Shards: ptr(uint32(16)), Age: ptr(720.0), Refused: 1, Swaps: 48,
			Details: &web.Details{By: "ana", Reason: "wrong prices", RefusedFiles: []web.RefusedFile{{File: "promotions-20261127T100000000Z.pgen", Error: "block 17: checksum differs"}}},
		},
		Query: "172FFC14-D229-4C93-B06B-F48B8C095512",
		Lookup: &Lookup{ID: "172FFC14-D229-4C93-B06B-F48B8C095512", Now: `{"id":"172FFC14-D229-4C93-B06B-F48B8C095512","price":9.68,"expiration_date":"2022-06-04 06:01:20"}`, Entries: []Entry{
			{Generation: "20261127T100000000Z", Found: true, Price: "12.345678", Change: "+27.5 %", ChangeClass: "up", ExpirationDate: "2022-06-04 06:01:20"},
			{Generation: "20261127T093000000Z", Live: true, States: []string{"live", "pinned"}, Found: true, Price: "9.68", ExpirationDate: "2022-06-04 06:01:20", Expired: true},
			{Generation: "20261127T090000000Z"},
		}},
		Generations: []Generation{
			{Generation: "20261127T100000000Z", States: []string{"refused"}, Created: "2026-11-27T10:00:00Z", Error: "block 17: checksum differs"},
			{Generation: "20261127T093000000Z", States: []string{"live", "pinned"}, Live: true, Created: "2026-11-27T09:30:00Z", Records: ptr(uint64(199900)), Bytes: 6431232, Build: "upload, 200,000 rows, 3 bad, 97 duplicates, 0.4 s", BadRows: &BadRows{Title: "3 bad rows", Rows: []BadRow{{"upload", 1, 4, "not an id", "id,price,x"}}}},
			{Generation: "20261127T090000000Z", Created: "2026-11-27T09:00:00Z", Records: ptr(uint64(199900)), Bytes: 6431232},
		},
		From: "20261127T090000000Z", To: "20261127T093000000Z",
		Comparison: &Comparison{From: "20261127T090000000Z", To: "20261127T093000000Z", Added: 12, Removed: 3, Changed: 1, Same: 199884, Changes: []Change{{"changed", "172FFC14-D229-4C93-B06B-F48B8C095512", "9.5", "9.68", "2022-06-04 06:01:20", "2022-06-04 06:01:20"}, {"added", "272FFC14-D229-4C93-B06B-F48B8C095512", "", "1.00", "", "2022-06-04"}}},
		Updater: &Updater{Token: true, Private: true, Building: &Building{"Building promotions.csv.gz", "sort: 1,000,000 rows", 54},
			Inbox:  &Inbox{Waiting: 1, Failed: 1, Done: 12, Names: []string{"next.csv"}},
			Builds: []Build{{"2026-11-27T09:30:00Z", "upload", "10.0.0.7", "published", "good", "generation 20261127T093000000Z"}, {"2026-11-27T09:00:00Z", "inbox", "x.csv", "bad_rows", "bad", "x.csv: line 1, column 4: not an id"}}},
		Activity: &Activity{},
	}
	for i := range v.Activity.Minutes {
		v.Activity.Minutes[i] = Minute{Requests: uint64(60000 + 1000*((i*7)%13)), P50: 60e-6, P99: 0.0002 + float64(i%7)*5e-5}
	}
	return v
}

// TestHostileTexts checks that no text of the view becomes markup.
func TestHostileTexts(t *testing.T) {
	const evil = `"><script>alert(1)</script>`
	v := sample()
	v.Query = evil
	v.Lookup.ID, v.Lookup.Now = evil, evil
	v.Status.Reason, v.Status.By = evil, evil
	v.Status.RefusedFiles[0].File = evil
	v.Generations[1].Build, v.Generations[1].BadRows.Rows[0].Text = evil, evil
	v.Updater.Inbox.Names[0], v.Updater.Builds[0].Name, v.Updater.Builds[0].Class = evil, evil, evil
	var b strings.Builder
	if err := Render(&b, v); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(b.String(), "<script"); n != 1 {
		t.Errorf("%d script elements, want that of the page only", n)
	}
	if n := strings.Count(b.String(), "alert(1)"); n < 9 {
		t.Errorf("the page has %d of the texts, want at least 9", n)
	}
}
