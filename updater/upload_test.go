package updater_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"promostore/builder"
	"promostore/format/generation"
	"promostore/updater"
)

func gzipped(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	w := gzip.NewWriter(&b)
	_, err := io.WriteString(w, text)
	must(t, err)
	must(t, w.Close())
	return b.String()
}

func zstded(t *testing.T, text string) string {
	t.Helper()
	var b strings.Builder
	w, err := zstd.NewWriter(&b)
	must(t, err)
	_, err = io.WriteString(w, text)
	must(t, err)
	must(t, w.Close())
	return b.String()
}

const (
	boundary = "xxBOUNDARYxx"
	formType = "multipart/form-data; boundary=" + boundary
)

// form returns a form. fields alternates between names and contents.
func form(t *testing.T, fields ...string) string {
	t.Helper()
	var b strings.Builder
	w := multipart.NewWriter(&b)
	must(t, w.SetBoundary(boundary))
	for i := 0; i < len(fields); i += 2 {
		part, err := w.CreateFormFile(fields[i], "promotions.csv")
		must(t, err)
		_, err = io.WriteString(part, fields[i+1])
		must(t, err)
	}
	must(t, w.Close())
	return b.String()
}

// formOf returns a form whose only part has a disposition and other headers.
func formOf(disposition, content string, headers ...string) string {
	head := strings.Join(append([]string{"--" + boundary, "Content-Disposition: " + disposition}, headers...), "\r\n")
	return head + "\r\n\r\n" + content + "\r\n--" + boundary + "--\r\n"
}

// chunked hides the length of a body, so that the client sends it in chunks.
type chunked struct{ io.Reader }

func TestUploadPublishesGeneration(t *testing.T) {
	const rows = 10_000
	csv := dataSet(t, rows)
	f := start(t, nil)
	want := []int{}
	for _, c := range []struct {
		name, body string
		headers    []string
	}{
		{"plain", csv, nil},
		{"content type of curl --data-binary", csv, []string{"Content-Type", "application/x-www-form-urlencoded"}},
		{"gzip", gzipped(t, csv), nil},
		{"zstd", zstded(t, csv), nil},
		{"content encoding gzip", gzipped(t, csv), []string{"Content-Encoding", "gzip"}},
		{"content encoding zstd", zstded(t, csv), []string{"Content-Encoding", "zstd"}},
		{"content encoding in upper case", gzipped(t, csv), []string{"Content-Encoding", "GZIP"}},
		{"content encoding x-gzip", gzipped(t, csv), []string{"Content-Encoding", "X-Gzip"}},
		{"content encoding with identity", gzipped(t, csv), []string{"Content-Encoding", "identity , gzip,"}},
		{"content encoding identity", csv, []string{"Content-Encoding", "Identity"}},
		{"content type in upper case", csv, []string{"Content-Type", "Text/CSV; Charset=UTF-8;"}},
		{"content type with a damaged parameter", csv, []string{"Content-Type", "text/csv; charset"}},
		{"content type of compressed data", gzipped(t, csv), []string{"Content-Type", "application/gzip"}},
		{"content type of a browser on Windows", csv, []string{"Content-Type", "application/vnd.ms-excel"}},
		{"whole upload of a resumable client", csv, []string{"Upload-Complete", "?1"}},
		{"form", form(t, "data", csv), []string{"Content-Type", formType}},
		{"form in upper case", form(t, "data", csv), []string{"Content-Type", "Multipart/Form-Data; Boundary=" + boundary}},
		{"form with content encoding identity", form(t, "data", csv), []string{"Content-Type", formType, "Content-Encoding", "identity"}},
		{"form with other headers of the part", formOf(`form-data; name="data"; filename="a \"б\".csv"; filename*=UTF-8''%D0%B1.csv`, csv, "Content-Transfer-Encoding: Binary", "Content-Type: text/csv"), []string{"Content-Type", formType}},
		{"form with gzip", form(t, "data", gzipped(t, csv)), []string{"Content-Type", formType}},
		{"form with preamble and epilogue", "preamble\r\n" + form(t, "data", csv) + "epilogue\r\n", []string{"Content-Type", formType}},
	} {
		for _, body := range []io.Reader{strings.NewReader(c.body), chunked{strings.NewReader(c.body)}} {
			a := f.post(t, body, c.headers...)
			a.want(t, http.StatusCreated, "")
			if a.object["records"] != float64(rows) || a.object["rows"] != float64(rows) || a.object["pruned"] == nil {
				t.Errorf("%s: %s", c.name, a)
			}
			want = append(want, rows)
			list, err := generation.List(f.data)
			must(t, err)
			if newest := list[len(list)-1].ID.String(); a.object["generation"] != newest {
				t.Errorf("%s: %s, newest generation %s", c.name, a, newest)
			}
		}
	}
	f.wantGenerations(t, want...)
}

// hint is a hint of a program that has flags for two of the limits.
func hint(err error) updater.Hint {
	switch {
	case errors.As(err, new(*updater.TooLargeError)):
		return updater.Hint{Flag: "--max-upload", Text: "raise --max-upload"}
	case errors.As(err, new(*builder.GuardError)):
		return updater.Hint{Flag: "--min-records", Text: "lower --min-records"}
	}
	return updater.Hint{}
}

func TestUploadRejections(t *testing.T) {
	csv := dataSet(t, 1000)
	f := start(t, func(o *updater.Options) {
		o.MaxUpload, o.Build.MinRecords, o.Hint = 1<<20, 100, hint
	})
	asForm := []string{"Content-Type", formType}
	for _, c := range []struct {
		name, body string
		headers    []string
		code       int
		reason     string
		contains   string
	}{
		{"bad row", csv + "bad,row\n", nil, 422, "bad_rows", `"rows":[{"line":1001,"column":1,"reason":`},
		{"another delimiter", strings.ReplaceAll(csv, ",", ";"), nil, 422, "bad_rows", `tolerated: upload: fields separated by ';', not by ','"`},
		{"error page", "<html>\n<body>502</body>\n</html>\n", nil, 422, "bad_rows", "HTML page, not a CSV"},
		{"gzip in gzip", gzipped(t, gzipped(t, csv)), nil, 422, "not_csv", "convert it: gzip -dc <FILE | gzip -dc"},
		{"zip archive", form(t, "data", "PK\x03\x04\x14\x00"), asForm, 422, "not_csv", "convert it: unzip -p FILE"},
		{"empty", "", nil, 422, "refused", "no promotions"},
		{"flag for too few records", dataSet(t, 10), nil, 422, "refused", `"flag":"--min-records"`},
		{"hint for too few records", dataSet(t, 10), nil, 422, "refused", `; lower --min-records"`},
		{"too large", strings.Repeat("x", 1<<20+1), nil, 413, "too_large", `larger than 1,048,576 bytes; raise --max-upload"`},
		{"form too large", form(t, "data", strings.Repeat(csv, 20)), asForm, 413, "too_large", `"flag":"--max-upload"`},
		{"decompression bomb", gzipped(t, strings.Repeat("\n", 80<<20)), nil, 413, "too_large", "bytes of gzip data"},
		{"truncated gzip", gzipped(t, csv)[:1000], nil, 400, "malformed", "truncated"},
		{"truncated zstd", zstded(t, csv)[:1000], nil, 400, "malformed", "truncated"},
		{"unsupported encoding", csv, []string{"Content-Encoding", "BR"}, 415, "unsupported", `Content-Encoding \"br\"`},
		{"two encodings", csv, []string{"Content-Encoding", "gzip, zstd"}, 415, "unsupported", `Content-Encoding \"gzip, zstd\"`},
		{"chunks of S3", csv, []string{"Content-Encoding", "aws-chunked"}, 415, "unsupported", `Content-Encoding \"aws-chunked\"`},
		{"encoded form", form(t, "data", csv), append(asForm, "Content-Encoding", "gzip"), 415, "unsupported", "compress the file in the form"},
		{"curl --form data=FILE", form(t, "data", "testdata/promotions.csv"), asForm, 422, "bad_rows", "use --form data=@FILE"},
		{"curl --data-binary FILE", "promotions.csv.gz", []string{"Content-Type", "application/x-www-form-urlencoded"}, 422, "bad_rows", "use --form data=@FILE"},
		{"curl --data data=@FILE", "data=@/srv/promotions", []string{"Content-Type", "application/x-www-form-urlencoded"}, 422, "bad_rows", "use --form data=@FILE"},
		{"curl --data", strings.ReplaceAll(csv, "\n", ""), []string{"Content-Type", "application/x-www-form-urlencoded"}, 422, "bad_rows", "use --data-binary or --form"},
		{"JSON", csv, []string{"Content-Type", "application/json"}, 415, "unsupported", `Content-Type \"application/json\"`},
		{"HTML", csv, []string{"Content-Type", "text/html; charset=utf-8"}, 415, "unsupported", `Content-Type \"text/html`},
		{"image", csv, []string{"Content-Type", "image/png"}, 415, "unsupported", `Content-Type \"image/png\"`},
		{"form of another kind", form(t, "data", csv), []string{"Content-Type", "multipart/mixed; boundary=" + boundary}, 415, "unsupported", "Content-Type"},
		{"piece", csv, []string{"Content-Range", "bytes 0-61/124"}, 400, "malformed", `Content-Range \"bytes 0-61/124\"`},
		{"piece in a form", form(t, "data", csv), append(asForm, "Content-Range", "bytes 0-61/124"), 400, "malformed", "Content-Range"},
		{"form with a piece", formOf(`form-data; name="data"`, csv, "Content-Range: bytes 0-61/124"), asForm, 400, "malformed", "Content-Range"},
		{"piece of a resumable client", csv, []string{"Upload-Offset", "62"}, 400, "malformed", "Upload-Offset"},
		{"unfinished upload of a resumable client", csv, []string{"Upload-Complete", "?0"}, 400, "malformed", "Upload-Complete"},
		{"damaged content type", csv, []string{"Content-Type", "text/csv, text/plain"}, 400, "malformed", "Content-Type"},
		{"form with another field only", form(t, "file", csv), asForm, 400, "malformed", `\"file\"`},
		{"form with another field first", form(t, "x", "", "data", csv), asForm, 400, "malformed", `\"x\"`},
		{"form with another field last", form(t, "data", csv, "x", ""), asForm, 400, "malformed", `\"x\"`},
		{"form with two data sets", form(t, "data", csv, "data", csv), asForm, 400, "malformed", "twice"},
		{"empty form", form(t), asForm, 400, "malformed", ""},
		{"form without an end", strings.TrimSuffix(form(t, "data", csv), "--"+boundary+"--\r\n"), asForm, 400, "malformed", "cut off"},
		{"form with half an end", strings.TrimSuffix(form(t, "data", csv), "--\r\n"), asForm, 400, "malformed", "cut off"},
		{"form with a long epilogue", form(t, "data", csv) + strings.Repeat("x", 8<<10), asForm, 400, "malformed", "follow the end"},
		{"form without a boundary", csv, []string{"Content-Type", "multipart/form-data"}, 400, "malformed", "Content-Type multipart/form-data has no boundary"},
		{"form with an empty boundary", csv, []string{"Content-Type", `multipart/form-data; boundary=""`}, 400, "malformed", "has no boundary"},
		{"form with a long boundary", csv, []string{"Content-Type", "multipart/form-data; boundary=" + strings.Repeat("x", 71)}, 400, "malformed", "boundary of 71 bytes"},
		{"form with a boundary that lacks quotes", strings.ReplaceAll(form(t, "data", csv), boundary, "a/b"), []string{"Content-Type", "multipart/form-data; boundary=a/b"}, 400, "malformed", `Content-Type \"multipart/form-data; boundary=a/b\"`},
		{"form with two boundaries", form(t, "data", csv), []string{"Content-Type", formType + "; boundary=x"}, 400, "malformed", "Content-Type"},
		{"form with another boundary", form(t, "data", csv), []string{"Content-Type", "multipart/form-data; boundary=x"}, 400, "malformed", "cut off or damaged"},
		{"form with two file names", formOf(`form-data; name="data"; filename="a"; filename="b"`, csv), asForm, 400, "malformed", "Content-Disposition"},
		{"form with two names", formOf(`form-data; name="data"; name="x"`, csv), asForm, 400, "malformed", "Content-Disposition"},
		{"form with two dispositions", formOf(`form-data; name="data"`, csv, `Content-Disposition: form-data; name="data"`), asForm, 400, "malformed", "2 headers Content-Disposition"},
		{"form with an attachment", formOf(`attachment; name="data"`, csv), asForm, 400, "malformed", "Content-Disposition"},
		{"form with base64", formOf(`form-data; name="data"`, csv, "Content-Transfer-Encoding: base64"), asForm, 400, "malformed", "Content-Transfer-Encoding"},
		{"form in a form", formOf(`form-data; name="data"`, form(t, "data", csv), "Content-Type: multipart/form-data; boundary=x"), asForm, 400, "malformed", "Content-Type"},
		{"form with JSON", formOf(`form-data; name="data"`, csv, "Content-Type: application/json"), asForm, 415, "unsupported", "Content-Type"},
		{"form with an encoded field", formOf(`form-data; name="data"`, csv, "Content-Encoding: br"), asForm, 415, "unsupported", "Content-Encoding"},
		{"form with endless part headers", "--" + boundary + "\r\n" + strings.Repeat("A: b\r\n", 100_000), asForm, 400, "malformed", ""},
		{"cross-origin request", csv, []string{"Sec-Fetch-Site", "cross-site"}, 403, "unauthorized", "of another site"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, body := range []io.Reader{strings.NewReader(c.body), chunked{strings.NewReader(c.body)}} {
				a := f.post(t, body, c.headers...)
				a.want(t, c.code, c.reason)
				if !strings.Contains(a.text, c.contains) {
					t.Errorf("answer %s does not contain %q", a, c.contains)
				}
				f.wantGenerations(t)
			}
		})
	}
	if got := f.metric(t, `promobuild_builds_total{result="failed"}`); got != "0" {
		t.Errorf("%s builds count as failed, although their senders are at fault", got)
	}
	f.post(t, strings.NewReader(csv)).want(t, http.StatusCreated, "")
}

// Long names from a client are truncated in answers and in /status.
func TestUploadTruncatesLongNames(t *testing.T) {
	f := start(t, nil)
	long := strings.Repeat("x", 10_000)
	for _, a := range []answer{
		f.post(t, strings.NewReader(form(t, long, "")), "Content-Type", formType),
		f.post(t, strings.NewReader(dataSet(t, 1)), "Content-Encoding", long),
		f.post(t, strings.NewReader(dataSet(t, 1)), "Content-Type", "text/"+long),
		f.post(t, strings.NewReader(dataSet(t, 1)), "Content-Type", "text/"+long+"/"),
		f.post(t, strings.NewReader(dataSet(t, 1)), "Content-Range", long),
		f.post(t, strings.NewReader(formOf("form-data; name="+long+"; name=x", "")), "Content-Type", formType),
	} {
		if a.code != http.StatusBadRequest && a.code != http.StatusUnsupportedMediaType {
			t.Errorf("answer %.500s", a)
		}
		if len(a.text) > 500 {
			t.Errorf("answer of %d bytes", len(a.text))
		}
	}
	if text := f.get(t, "/status").text; len(text) > 2000 {
		t.Errorf("/status of %d bytes", len(text))
	}
}

func TestUploadBoundsReportOfBadRows(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Build.MaxBadRows = 7 })
	a := f.post(t, strings.NewReader(strings.Repeat(strings.Repeat("x", 10_000)+"\n", 10_000)))
	a.want(t, http.StatusUnprocessableEntity, "bad_rows")
	rows, _ := a.object["rows"].([]any)
	if len(rows) != 20 || a.object["bad_rows"] != 10_000. || a.object["tolerated"] != 7. || len(a.text) > 20<<10 {
		t.Errorf("%d bytes, %d rows: %.1000s", len(a.text), len(rows), a)
	}
	if text := f.get(t, "/status").text; strings.Contains(text, "xxx") {
		t.Errorf("/status contains rows: %.1000s", text)
	}
}

func TestUploadPrunesOldGenerations(t *testing.T) {
	f := start(t, func(o *updater.Options) { o.Keep = 2 })
	var names []any
	for i := range 4 {
		a := f.post(t, strings.NewReader(dataSet(t, int64(i+1))))
		a.want(t, http.StatusCreated, "")
		pruned, _ := a.object["pruned"].([]any)
		if i < 2 && len(pruned) != 0 || i >= 2 && (len(pruned) != 1 || pruned[0] != names[i-2]) {
			t.Errorf("upload %d after %v: %s", i, names, a)
		}
		names = append(names, a.object["generation"])
	}
	f.wantGenerations(t, 3, 4)
}

func TestEndpointMethods(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", "/upload", 405}, {"PUT", "/upload", 405}, {"POST", "/status", 405}, {"DELETE", "/prometheus", 405}, {"POST", "/metrics", 405},
		{"GET", "/", 404}, {"POST", "/upload/", 404}, {"POST", "//upload", 404}, {"POST", "/./upload", 404}, {"POST", "/x/../upload", 404},
		{"GET", "//status", 404}, {"GET", "/uploads//x", 404}, {"GET", "/%2e/status", 404}, {"GET", "/promotions/1", 404}, {"GET", "/debug/pprof/", 404},
		{"GET", "/healthz", 200}, {"GET", "/readyz", 200}, {"GET", "/status", 200},
	} {
		req, err := http.NewRequest(c.method, "http://"+f.address+c.path, nil)
		must(t, err)
		res, err := f.client.Do(req)
		must(t, err)
		if a := read(t, res); a.code != c.code {
			t.Errorf("%s %s: %s, want %d", c.method, c.path, a, c.code)
		} else if (c.code == 405) != (a.header.Get("Allow") != "") {
			t.Errorf("%s %s: Allow is %q", c.method, c.path, a.header.Get("Allow"))
		}
	}
}

// curl -T FILE sends PUT, to the address plus the name of the file if the address
// ends with a slash. The answer tells how to upload.
func TestRequestThatMissesUploadTellsHowToUpload(t *testing.T) {
	f := start(t, nil)
	const advice = "use POST: curl --form data=@FILE ADDRESS/upload"
	for _, c := range []struct {
		method, path, want string
	}{
		{"PUT", "/upload", "method not allowed; " + advice},
		{"GET", "/upload", "method not allowed; " + advice},
		{"PUT", "/upload/p.csv", "not found; " + advice},
		{"POST", "/upload/", "not found; " + advice},
		{"PUT", "/p.csv", "not found; " + advice},
		{"POST", "/", "not found; " + advice},
		{"GET", "/upload/", "not found; " + advice},
		{"GET", "/x", "not found"},
		{"PUT", "/status", "method not allowed"},
	} {
		req, err := http.NewRequest(c.method, "http://"+f.address+c.path, strings.NewReader(dataSet(t, 1)))
		must(t, err)
		res, err := f.client.Do(req)
		must(t, err)
		if a := read(t, res); len(a.object) != 1 || a.object["error"] != c.want {
			t.Errorf("%s %s: %s, want the error %q", c.method, c.path, a, c.want)
		}
	}
}

// Answers that do not depend on a body reach a client that reads them only after
// it has sent the whole body.
func TestEarlyAnswerReachesSender(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"POST", "/x", 404}, {"POST", "//upload", 404}, {"PUT", "/upload", 405}, {"POST", "/status", 405}, {"GET", "/healthz", 200},
	} {
		for range 5 {
			conn, err := net.Dial("tcp", f.address)
			must(t, err)
			_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", c.method, c.path, 16<<20, make([]byte, 16<<20))
			if err != nil {
				t.Errorf("%s %s: %v", c.method, c.path, err)
				continue
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must(t, err)
			if a := read(t, res); a.code != c.code || !res.Close {
				t.Errorf("%s %s: %s, want %d", c.method, c.path, a, c.code)
			}
			conn.Close()
		}
	}
}

// An answer 415 tells which values the header may have.
func TestUnsupportedContentNamesAcceptedKinds(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct{ header, value, accepts, kind string }{
		{"Content-Encoding", "br", "Accept-Encoding", "gzip"},
		{"Content-Type", "application/json", "Accept", "text/csv"},
	} {
		a := f.post(t, strings.NewReader(dataSet(t, 1)), c.header, c.value)
		a.want(t, http.StatusUnsupportedMediaType, "unsupported")
		if got := a.header.Get(c.accepts); !strings.Contains(got, c.kind) {
			t.Errorf("%s is %q, want %s", c.accepts, got, c.kind)
		}
	}
	if got := f.metric(t, `promobuild_uploads_total{code="415"}`); got != "2" {
		t.Errorf("%s answers 415, want 2", got)
	}
	c := f.dial(t, "POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Type: "+formType+"\r\nContent-Length: 1000000\r\n\r\n")
	readAnswer(t, c).want(t, http.StatusBadRequest, "malformed")
	f.wantGenerations(t)
}

// A data set without records is refused in every form, or accepted in every form.
func TestUploadWithoutRecords(t *testing.T) {
	refusing := start(t, nil)
	accepting := start(t, func(o *updater.Options) { o.Build.AllowEmpty = true })
	num := 0
	for _, csv := range []string{"", "\n", "\r\n\r\n", "\xef\xbb\xbf", "\xef\xbb\xbf\n", "id,price,expiration_date\n"} {
		for name, upload := range map[string]struct {
			body    string
			headers []string
		}{
			"plain":          {csv, nil},
			"gzip":           {gzipped(t, csv), nil},
			"zstd":           {zstded(t, csv), nil},
			"form":           {form(t, "data", csv), []string{"Content-Type", formType}},
			"form with gzip": {form(t, "data", gzipped(t, csv)), []string{"Content-Type", formType}},
			"form with zstd": {form(t, "data", zstded(t, csv)), []string{"Content-Type", formType}},
		} {
			t.Run(fmt.Sprintf("%q as %s", csv, name), func(t *testing.T) {
				num++
				a := refusing.post(t, strings.NewReader(upload.body), upload.headers...)
				a.want(t, http.StatusUnprocessableEntity, "refused")
				if !strings.Contains(a.text, builder.ErrEmpty.Error()) {
					t.Errorf("answer %s", a)
				}
				if result := refusing.builds(t)[0]["result"]; result != "refused" {
					t.Errorf("result %v, want refused", result)
				}
				a = accepting.post(t, strings.NewReader(upload.body), upload.headers...)
				a.want(t, http.StatusCreated, "")
				if a.object["records"] != 0. {
					t.Errorf("answer %s, want no records", a)
				}
			})
		}
	}
	refusing.wantGenerations(t)
	for name, want := range map[string]string{
		`promobuild_builds_total{result="refused"}`: strconv.Itoa(num),
		`promobuild_builds_total{result="failed"}`:  "0",
		`promobuild_uploads_total{code="422"}`:      strconv.Itoa(num),
	} {
		if got := refusing.metric(t, name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	refusing.stop(t)
	if log := refusing.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, `level=WARN msg="nothing published"`) {
		t.Errorf("the log of refused uploads has errors, or lacks warnings:\n%.2000s", log)
	}
}
