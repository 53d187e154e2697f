package builder

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// compressors compress a text into one gzip member or zstd frame.
func compressors(t *testing.T) map[string]func(string) string {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { encoder.Close() })
	return map[string]func(string) string{
		"gzip": func(text string) string { return string(pack(t, ".gz", []byte(text))) },
		// The header of such a frame has the length of its content; that of pack does not.
		"zstd": func(text string) string { return string(encoder.EncodeAll([]byte(text), nil)) },
	}
}

const header = "id,price,expiration_date\n"

// testRow returns a row with the id number i.
func testRow(i byte) string {
	return "172ffc14-d229-4c93-b06b-f48b8c09550" + string('0'+i) + ",9.68,2022-06-04 06:01:20\n"
}

// The header and the byte-order mark of every gzip member and zstd frame are
// skipped, because each may be a file of its own. Line numbers count them.
func TestHeaderOfEachMemberIsSkipped(t *testing.T) {
	const mark = "\xef\xbb\xbf"
	for kind, pack := range compressors(t) {
		for name, parts := range map[string][]string{
			"headers":            {header + testRow(1), header + testRow(2), header + testRow(3) + "x\n"},
			"marks and quotes":   {mark + header + testRow(1), mark + testRow(2), "\"ID\",PRICE,expiration_date\r\n" + testRow(3) + "x\n"},
			"blank lines":        {header + testRow(1), "\r\n\n" + header + testRow(2), testRow(3) + "x\n"},
			"empty members":      {"", header + testRow(1) + testRow(2), "", "", header, header + testRow(3) + "x\n", ""},
			"a row in two parts": {header + testRow(1), header + testRow(2)[:50], testRow(2)[50:] + testRow(3) + "x\n"},
		} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				var data string
				for _, part := range parts {
					data += pack(part)
				}
				text := strings.Join(parts, "")
				for _, s := range []sizes{inMemory, tiny} {
					var rejects bytes.Buffer
					sum, file := mustBuild(t, s, Options{Inputs: []Input{stream("in", []byte(data))}, MaxBadRows: 1, Rejects: &rejects})
					if want := expect([]byte(testRow(1)+testRow(2)+testRow(3)), KeepLast); sum.Rows != 4 || !slices.Equal(dump(t, file, ','), want) {
						t.Errorf("summary %+v, rows %q, want %q", sum, dump(t, file, ','), want)
					}
					line := strings.Count(text, "\n")
					if _, last, _ := strings.Cut(rejects.String(), "\nin,"); !strings.HasPrefix(last, strconv.Itoa(line)+",1,") {
						t.Errorf("rejects %q, want line %d", rejects.String(), line)
					}
				}
			})
		}
	}
}

// A header between two members is not skipped if the first one ends within a
// row: the row is damaged.
func TestHeaderAfterUnterminatedMemberIsBad(t *testing.T) {
	for kind, pack := range compressors(t) {
		data := pack(header+strings.TrimSuffix(testRow(1), "\n")) + pack(header+testRow(2))
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(data))}, Dir: t.TempDir(), Memory: MinMemory})
		var bad *BadRowsError
		if !errors.As(err, &bad) || bad.Count != 1 || bad.Rows[0].Line != 2 {
			t.Errorf("%s: error %v", kind, err)
		}
	}
}

// Zero bytes after gzip data are ignored, as the gzip command does. Other bytes
// fail the build.
func TestGzipPadding(t *testing.T) {
	member := compressors(t)["gzip"](testRow(1))
	for padding, want := range map[string]string{
		"\x00": "", strings.Repeat("\x00", 10_000): "",
		"\x00\x00x":            "other data follows at byte " + strconv.Itoa(len(member)+2),
		"x":                    "other data follows at byte " + strconv.Itoa(len(member)),
		testRow(2):             "other data follows at byte " + strconv.Itoa(len(member)),
		"\x00" + member:        "other data follows at byte " + strconv.Itoa(len(member)+1),
		"\x1f":                 "truncated at byte " + strconv.Itoa(len(member)+1),
		member[:len(member)-1]: "truncated at byte " + strconv.Itoa(2*len(member)-1),
	} {
		_, err := Build(t.Context(), Options{Inputs: []Input{stream("in", []byte(member+padding))}, Dir: t.TempDir(), Memory: MinMemory})
		if want == "" && err != nil {
			t.Errorf("%d zero bytes: error %v", len(padding), err)
		}
		if want != "" && (!errors.As(err, new(*CompressionError)) || !strings.HasSuffix(err.Error(), want+", after line 1")) {
			t.Errorf("%.20q after the data: error %v, want %s", padding, err, want)
		}
	}
}
