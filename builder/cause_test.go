package builder

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// manyRows returns n rows with another id each, and with f applied.
func manyRows(n int, f func(string) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(f(fmt.Sprintf("%08x-0000-4000-8000-000000000000,9.68,2022-06-04 06:01:20", i)) + "\n")
	}
	return b.String()
}

func TestCommonCauseOfBadRowsIsNamed(t *testing.T) {
	replace := func(old, to string) func(string) string {
		return func(s string) string { return strings.ReplaceAll(s, old, to) }
	}
	order := func(format string) func(string) string {
		return func(row string) string {
			f := strings.Split(row, ",")
			return fmt.Sprintf(format, f[0], f[1], f[2])
		}
	}
	quoted := func(row string) string { return `"` + strings.ReplaceAll(row, ",", `";"`) + `"` }
	type cause struct {
		delimiter DelimiterError
		columns   ColumnsError
	}
	semicolon := cause{delimiter: DelimiterError{';', ',', false}}
	afterLine := cause{delimiter: DelimiterError{';', ',', true}}
	for name, tc := range map[string]struct {
		data string
		want cause
	}{
		"semicolons":             {manyRows(100, replace(",", ";")), semicolon},
		"semicolons and header":  {"id;price;expiration_date\n" + manyRows(100, replace(",", ";")), semicolon},
		"one row":                {manyRows(1, replace(",", ";")), semicolon},
		"quoted":                 {manyRows(100, quoted), semicolon},
		"decimal commas":         {manyRows(100, order("%[1]s;9,68;%[3]s")), semicolon},
		"header of other names":  {"sku;amount;until\n" + manyRows(100, replace(",", ";")), semicolon},
		"line of Excel":          {"sep=;\nid;price;expiration_date\n" + manyRows(100, replace(",", ";")), afterLine},
		"line of PowerShell":     {"#TYPE System.Data.DataRow\n\"id\";\"price\";\"expiration_date\"\n" + manyRows(100, quoted), afterLine},
		"tabs":                   {manyRows(100, replace(",", "\t")), cause{delimiter: DelimiterError{'\t', ',', false}}},
		"bars":                   {"\xef\xbb\xbfid|price|expiration_date\r\n" + manyRows(100, replace(",", "|")), cause{delimiter: DelimiterError{'|', ',', false}}},
		"price first":            {"price,id,expiration_date\n" + manyRows(100, order("%[2]s,%[1]s,%[3]s")), cause{columns: ColumnsError{2, 1, 3, 3, ','}}},
		"date first, no header":  {manyRows(100, order("%[3]s,%[2]s,%[1]s")), cause{columns: ColumnsError{3, 2, 1, 3, ','}}},
		"a column more":          {"id,name,price,expiration_date\n" + manyRows(100, order("%[1]s,Sale,%[2]s,%[3]s")), cause{columns: ColumnsError{1, 3, 4, 4, ','}}},
		"an empty column at end": {manyRows(100, func(row string) string { return row + "," }), cause{columns: ColumnsError{1, 2, 3, 4, ','}}},
	} {
		for _, s := range []sizes{inMemory, tiny} {
			_, err := buildWith(t.Context(), s, Options{Inputs: []Input{stream("in", []byte(tc.data))}, Dir: t.TempDir()})
			var bad *BadRowsError
			if !errors.As(err, &bad) || bad.Cause == nil || !strings.Contains(err.Error(), " tolerated: in: ") {
				t.Errorf("%s: error %v", name, err)
				continue
			}
			var got cause
			if d := (*DelimiterError)(nil); errors.As(err, &d) {
				got.delimiter = *d
			}
			if c := (*ColumnsError)(nil); errors.As(err, &c) {
				got.columns = *c
			}
			if got != tc.want {
				t.Errorf("%s: error %v, want the cause %+v", name, err, tc.want)
			}
		}
	}
}

// Rows that have no common cause, or that precede good ones, are only listed.
func TestBadRowsWithoutCommonCause(t *testing.T) {
	semicolons := func(s string) string { return strings.ReplaceAll(s, ",", ";") }
	same := func(s string) string { return s }
	for name, data := range map[string]string{
		"two causes":         manyRows(5, semicolons) + "x\n",
		"good rows first":    manyRows(5, same) + manyRows(50, semicolons),
		"good rows last":     manyRows(50, semicolons) + manyRows(5, same),
		"no rows of a CSV":   strings.Repeat("x\n", 50),
		"one column too few": strings.Repeat("a,b\n", 50),
	} {
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory})
		var bad *BadRowsError
		if !errors.As(err, &bad) || bad.Cause != nil || bad.Stopped {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestBlanksAroundFieldsAreNamed(t *testing.T) {
	for _, data := range []string{
		"id, price, expiration_date\n" + manyRows(50, func(s string) string { return strings.ReplaceAll(s, ",", ", ") }),
		manyRows(50, func(s string) string { return s + " " }),
	} {
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory})
		if !errors.Is(err, errBlanks) {
			t.Errorf("%.80q: error %v, want %v", data, err, errBlanks)
		}
	}
}

// A build stops when it knows why all rows are bad, unless they are tolerated or
// wanted as rejects.
func TestBuildStopsAtCommonCause(t *testing.T) {
	data := manyRows(200_000, func(s string) string { return strings.ReplaceAll(s, ",", ";") })
	build := func(opts Options) (*BadRowsError, int) {
		in := &countingReader{r: strings.NewReader(data)}
		opts.Inputs, opts.Dir, opts.Memory, opts.Workers = []Input{StreamInput("in", in)}, t.TempDir(), MinMemory, 1
		_, err := Build(t.Context(), opts)
		var bad *BadRowsError
		if !errors.As(err, &bad) || bad.Cause == nil {
			t.Fatalf("error %v", err)
		}
		return bad, in.n
	}
	if bad, n := build(Options{}); !bad.Stopped || n > len(data)/2 || !strings.HasPrefix(bad.Error(), "at least ") || strings.Count(bad.Error(), "\n") != 3 {
		t.Errorf("%d of %d bytes read: error %v", n, len(data), bad)
	}
	if bad, n := build(Options{MaxBadRows: 199_999}); n < len(data) || bad.Count != 200_000 {
		t.Errorf("%d of %d bytes read: error %v", n, len(data), bad)
	}
	var rejects bytes.Buffer
	if bad, _ := build(Options{Rejects: &rejects}); bad.Stopped || bytes.Count(rejects.Bytes(), []byte("\n")) != 200_001 {
		t.Errorf("%d rejects: error %v", bytes.Count(rejects.Bytes(), []byte("\n")), bad)
	}
}

// If all rows are tolerated, the error names the cause, too.
func TestEmptyResultNamesCause(t *testing.T) {
	data := manyRows(5, func(s string) string { return strings.ReplaceAll(s, ",", ";") })
	_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory, MaxBadRows: 10})
	if !errors.Is(err, ErrEmpty) || !errors.As(err, new(*DelimiterError)) {
		t.Errorf("error %v", err)
	}
}

// Lines that are not rows are named where they are: a header of other names and
// lines for other programs at the start, and a header after rows.
func TestLineThatIsNoRowIsNamed(t *testing.T) {
	for _, tc := range []struct {
		data   string
		line   int64
		cause  bool // of the whole input
		reason string
	}{
		{"Promotion,price,expires\n" + testRow(1), 1, true, "a header of other names"},
		{"\xef\xbb\xbf\r\nprice,id,when\r\n" + testRow(1), 2, true, "a header of other names"},
		{"sep=,\n" + header + testRow(1), 1, true, "sed 1d"},
		{"\"sep=;\"\r\n" + header + testRow(1), 1, true, "Excel"},
		{"#TYPE System.Data.DataRow\n" + header + testRow(1), 1, true, "PowerShell"},
		{header + header + testRow(1), 2, false, "a header after other rows"},
		{testRow(1) + "\"Id\",\"price\",\"expiration_date\"\r\n" + testRow(2), 2, false, "a header after other rows"},
		{testRow(1) + "(1 row)\n", 2, false, "the count of rows that psql prints"},
		{testRow(1) + testRow(2) + "(2 rows)", 3, false, "the count of rows that psql prints"},
		{testRow(1) + "\\.\n", 2, false, `the end mark "\." of COPY`},
		{testRow(1) + "(some rows)\n", 2, false, "1 field, not the 3"},
		{"x\n" + testRow(1), 1, false, "1 field, not the 3"},
		{"172ffc14-d229-4c93-b06b-f48b8c09551,9.68,2022-06-04 06:01:20\n" + testRow(1), 1, false, "id: 35 characters, want the 36"},
		{"1,9.68,2022-06-04 06:01:20\n" + testRow(1), 1, false, "id: 1 character, want the 36"},
	} {
		opts := Options{Inputs: []Input{stream("in", []byte(tc.data))}, Dir: t.TempDir(), Memory: MinMemory}
		_, err := Build(t.Context(), opts)
		var bad *BadRowsError
		if !errors.As(err, &bad) || bad.Count != 1 || bad.Rows[0].Line != tc.line || !strings.Contains(bad.Rows[0].Reason, tc.reason) ||
			(bad.Cause != nil) != tc.cause || strings.Contains(err.Error(), "either") {
			t.Errorf("%q: error %v", tc.data, err)
			continue
		}
		opts.Inputs, opts.MaxBadRows = []Input{stream("in", []byte(tc.data))}, 1
		if sum, err := Build(t.Context(), opts); err != nil || sum.BadRows != 1 || sum.Records == 0 {
			t.Errorf("%q tolerated: %+v, error %v", tc.data, sum, err)
		}
	}
}
