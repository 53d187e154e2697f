package builder

import (
	"bytes"
	"os"
	"slices"
	"testing"
)

// FuzzParse checks that the parser finds the same rows and bad lines as the
// oracle.
func FuzzParse(f *testing.F) {
	seed, err := os.ReadFile("../testdata/promotions.csv")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for line := range bytes.Lines(seed) {
		f.Add(line)
	}
	f.Add([]byte("172ffc14-d229-4c93-b06b-f48b8c095512,+1,2022-06-04T06:01:20+02:00\r\n\r\n\"172FFC14-D229-4C93-B06B-F48B8C095512\",\".5\",\"0000-02-29 23:59:59 -0000 -03\""))
	f.Add([]byte("\xef\xbb\xbf\"ID\",PRICE,\"expiration_date\"\n172ffc14-d229-4c93-b06b-f48b8c095512,-0.00,2018-10-28 02:30:00 +0100 CET\n"))
	f.Add([]byte("{172ffc14-d229-4c93-b06b-f48b8c095512},9.680000000000000000,2018-10-28 02:30:00.000+00\n172ffc14-d229-4c93-b06b-f48b8c095513,0E-18,2018-10-28T02:30:00z\n"))
	f.Add([]byte("\xef\xbb\xbf\nSEP=;\r\n\"#TYPE x\"\n\nid,price,expiration_date\n172ffc14-d229-4c93-b06b-f48b8c095512,1,2018-10-28T02:30:00Z\nid,price,expiration_date\n"))
	f.Add([]byte("172ffc14-d229-4c93-b06b-f48b8c095512,\"5.\",2100-02-29 00:00:00\n\"\n\"\"\"\n,,\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		want, rows, bad := oracleCSV(data, ',')
		var styles styleDictionary
		p := newParser(',', &styles, len(data))
		c := chunk{first: true, data: bytes.Clone(data)}
		if err := p.parse(c); err != nil {
			t.Fatal(err)
		}
		if got := int64(len(p.records) + len(p.bad)); got != rows {
			t.Fatalf("%d rows, want %d", got, rows)
		}
		var lines []int64
		for _, bad := range p.bad {
			b := p.explain(c, bad)
			lines = append(lines, b.Line)
			if b.Column < 1 || b.Column > len(b.Text)+1 || b.Reason == "" {
				t.Errorf("bad row %+v", b)
			}
		}
		if !slices.Equal(lines, bad) {
			t.Fatalf("bad lines %d, want %d", lines, bad)
		}
		got := map[string]string{}
		for _, r := range p.records {
			got[r.Key().String()] = string(r.AppendCSV(nil, styles.styles, ','))
		}
		if len(got) != len(want) {
			t.Fatalf("%d ids, want %d", len(got), len(want))
		}
		for id, row := range want {
			if got[id] != row {
				t.Errorf("row %q, want %q", got[id], row)
			}
		}
	})
}
