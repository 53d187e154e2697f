package builder

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"unicode/utf16"
)

// zipOf returns a zip archive of one file, which is stored.
func zipOf(t *testing.T, name, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// utf16Of returns text in UTF-16; order lists the offsets of the low and the
// high byte.
func utf16Of(text string, order [2]int) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		var pair [2]byte
		pair[order[0]], pair[order[1]] = byte(unit), byte(unit>>8)
		b = append(b, pair[:]...)
	}
	return string(b)
}

// An input that is not a CSV is named by its first bytes, with the command that
// converts it, for any number of tolerated bad rows.
func TestInputOfAnotherKindIsNamed(t *testing.T) {
	csv := header + testRow(1) + testRow(2)
	packed := compressors(t)
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "p.csv", Mode: 0o644, Size: int64(len(csv)), Format: tar.FormatUSTAR}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(csv)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	little, big := [2]int{0, 1}, [2]int{1, 0}
	for _, tc := range []struct{ data, kind, command string }{
		{zipOf(t, "p.csv", csv), "zip archive", "unzip -p FILE"},
		{zipOf(t, "[Content_Types].xml", "<Types/>"), "Excel workbook", "soffice --headless --convert-to csv FILE"},
		{zipOf(t, "mimetype", "application/vnd.oasis.opendocument.spreadsheet"), "OpenDocument file", "soffice --headless --convert-to csv FILE"},
		{"\xFD7zXZ\x00\x00\x04\xE6\xD6\xB4\x46", "xz data", "xz -dc <FILE"},
		{"BZh91AY&SY\xBD\x77\xD5\x5F\x00", "bzip2 data", "bzip2 -dc <FILE"},
		{"BZh9\x17rE8P\x90\x00\x00\x00\x00", "bzip2 data", "bzip2 -dc <FILE"},
		{"7z\xBC\xAF\x27\x1C\x00\x04", "7z archive", "7z x -so FILE"},
		{"\x04\x22\x4D\x18\x64\x40\xA7", "lz4 data", "lz4 -dc <FILE"},
		{"\x1F\x9D\x90", "compress data", "gzip -dc <FILE"},
		{"x\x9C\xCB\x4C", "zlib data", "pigz -dc <FILE"},
		{packed["gzip"](packed["gzip"](csv)), "gzip data within gzip data", "gzip -dc <FILE | gzip -dc"},
		{packed["zstd"](packed["gzip"](csv)), "gzip data within zstd data", "zstd -dc <FILE | gzip -dc"},
		{packed["gzip"](packed["zstd"](csv)), "zstd data within gzip data", "gzip -dc <FILE | zstd -dc"},
		{packed["gzip"](archive.String()), "tar archive within gzip data", "gzip -dc <FILE | tar -xOf -"},
		{packed["gzip"](zipOf(t, "p.csv", csv)), "zip archive within gzip data", ""},
		{archive.String(), "tar archive", "tar -xOf - <FILE"},
		{utf16Of("\uFEFF"+csv, little), "UTF-16 text", "iconv -f UTF-16 -t UTF-8 <FILE"},
		{utf16Of("\uFEFF"+csv, big), "UTF-16 text", "iconv -f UTF-16 -t UTF-8 <FILE"},
		{utf16Of(csv, little), "UTF-16 text", "iconv -f UTF-16LE -t UTF-8 <FILE"},
		{utf16Of(csv, big), "UTF-16 text", "iconv -f UTF-16BE -t UTF-8 <FILE"},
		{strings.ReplaceAll(csv, "\n", "\r"), "text with CR as its only line end", `tr '\r' '\n' <FILE`},
		{"PAR1\x15\x04\x15\x60", "Parquet file", `duckdb -csv -c "SELECT id, price, expiration_date FROM read_parquet('FILE')"`},
		{"ORC\x0A\x07\x12", "ORC file", ""},
		{"Obj\x01\x04\x14avro.codec", "Avro file", `duckdb -csv -c "SELECT id, price, expiration_date FROM read_avro('FILE')"`},
		{"PROMOGEN\x00\x00\x00\x01", "generation file", "promobuild dump FILE"},
		{strings.Repeat("\x00", 5000), "zero bytes", ""},
	} {
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(tc.data))}, Dir: t.TempDir(), Memory: MinMemory, MaxBadRows: math.MaxInt64})
		var kind *KindError
		if !errors.As(err, &kind) || kind.Kind != tc.kind || kind.Command != tc.command || !strings.HasPrefix(err.Error(), "in: "+tc.kind+", not a CSV") {
			t.Errorf("%.20q: error %v, want %q, %q", tc.data, err, tc.kind, tc.command)
		}
	}
}

// A text of another kind is named if none of its rows is good.
func TestTextOfAnotherKindIsNamed(t *testing.T) {
	for data, kind := range map[string]string{
		"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n<body>\n</body></html>\n": "HTML page",
		"\xef\xbb\xbf\n<html>\n": "HTML page",
		"<?xml version=\"1.0\"?>\n<Error><Code>AccessDenied</Code></Error>": "XML document",
		"[\n  {\"id\": \"172ffc14-d229-4c93-b06b-f48b8c095512\"}\n]\n":      "JSON array",
		`{"message":"Not Found"}`: "JSON text",
		"-- MySQL dump 10.19\n--\nINSERT INTO `promotions` VALUES (1);\n":                                                "SQL script",
		" id | price | expiration_date \n----+-------+-----------------\n a  |   1.5 | 2018-06-04 06:01:20\n(1 row)\n\n": "table of psql",
		"-[ RECORD 1 ]---+-----\nid    | a\nprice | 1.5\n":                                                               "table of psql",
		"+----+-------+\n| id | price | expiration_date |\n+----+-------+\n| a  |   1.5 | 2018-06-04 06:01:20 |\n":       "table of mysql",
		"*************************** 1. row ***************************\nid: a\nprice: 1.5\n":                            "table of mysql",
		"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab\nsize 12345\n":                              "pointer of Git LFS",
		"\x7fELF\x02\x01\x01\x00\r\x01":         "binary data",
		strings.Repeat("\x8c\x0e\x06\n", 1000):  "binary data",
		"<html>" + strings.Repeat("x", 300_000): "HTML page",
		"{\"id\":1}\n" + strings.Repeat("{\"id\":\"172ffc14-d229-4c93-b06b-f48b8c095512\"}\n", 100_000): "JSON text",
	} {
		opts := Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory}
		_, err := Build(t.Context(), opts)
		var bad *BadRowsError
		var got *KindError
		if !errors.As(err, &bad) || !errors.As(err, &got) || got.Kind != kind {
			t.Errorf("%.20q: error %v, want %q", data, err, kind)
		}
		// Tolerated rows of such an input remain bad rows.
		opts.Inputs = []Input{stream("in", []byte(data)), stream("good", []byte(testRow(1)))}
		opts.MaxBadRows = 1_000_000
		if sum, err := Build(t.Context(), opts); err != nil || sum.Records != 1 {
			t.Errorf("%.20q and a good input: %+v, error %v", data, sum, err)
		}
	}
}

// Texts that begin like a file of another kind are CSVs.
func TestTextIsNoBinaryKind(t *testing.T) {
	for _, first := range []string{"ORCHID,price,until\n", "PAR1,2,3\n", "FEA1,2,3\n", "[x\n", "<x\n"} {
		data := first + testRow(1)
		sum, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory, MaxBadRows: 1})
		if err != nil || sum.Records != 1 || sum.BadRows != 1 {
			t.Errorf("%q: %+v, error %v", first, sum, err)
		}
	}
}
