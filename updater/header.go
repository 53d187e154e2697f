package updater

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"promostore/builder"
)

// mediaTypes are the types of a data set. Clients guess some of them from the
// name of a file.
var mediaTypes = []string{
	"text/csv", "text/plain", "text/x-csv", "text/comma-separated-values", "text/tab-separated-values",
	"application/csv", "application/x-csv",
	"application/vnd.ms-excel",                        // browsers on Windows
	"application/octet-stream", "binary/octet-stream", // curl --form, S3
	curlMediaType,                            // curl --data-binary
	"application/gzip", "application/x-gzip", // RFC 6713
	"application/zstd", "application/x-zstd", // RFC 8878
}

// An unsupportedError reports a request whose content is of a kind that the
// updater does not accept.
type unsupportedError struct {
	reason   string
	header   string // of the answer, with the accepted values
	accepted string
}

func (e *unsupportedError) Error() string { return e.reason }

// A content describes the body of a request, or a part of a form.
type content struct {
	mediaType string // in lower case; empty: not given
	params    map[string]string
}

const (
	formMediaType = "multipart/form-data"
	curlMediaType = "application/x-www-form-urlencoded" // of curl --data
)

// contentOf returns the content that header describes. It returns an error for
// content that cannot be a whole data set or a form.
func contentOf(header http.Header) (content, error) {
	var c content
	if err := checkWhole(header); err != nil {
		return c, err
	}
	err := c.parse(header)
	if err == nil {
		err = c.checkCoding(header)
	}
	return c, err
}

// checkWhole returns an error if header belongs to a piece of a data set. Each
// piece would become a generation.
func checkWhole(header http.Header) error {
	for _, name := range []string{"Content-Range", "Upload-Offset"} { // RFC 9110; tus and the resumable uploads of the IETF
		if value := header.Get(name); value != "" {
			return malformed("%s %.40q: send the whole data set in one request", name, value)
		}
	}
	if value := header.Get("Upload-Complete"); value != "" && value != "?1" {
		return malformed("Upload-Complete %.40q: send the whole data set in one request", value)
	}
	return nil
}

// parse reads the Content-Type.
func (c *content) parse(header http.Header) (err error) {
	values := header.Values("Content-Type")
	if len(values) > 1 {
		return malformed("Content-Type is given %d times", len(values))
	}
	value := header.Get("Content-Type")
	if value == "" {
		return nil
	}
	c.mediaType, c.params, err = mime.ParseMediaType(value)
	switch {
	case errors.Is(err, mime.ErrInvalidMediaParameter) && c.mediaType != formMediaType:
	case err != nil:
		return malformed("Content-Type %.80q: %v", value, err)
	}
	if c.mediaType == formMediaType {
		return c.checkBoundary()
	}
	if !slices.Contains(mediaTypes, c.mediaType) {
		return &unsupportedError{
			fmt.Sprintf("Content-Type %.80q: use text/csv, application/gzip, application/zstd or %s", value, formMediaType),
			"Accept", strings.Join(append(mediaTypes[:len(mediaTypes):len(mediaTypes)], formMediaType), ", "),
		}
	}
	return nil
}

// maxBoundary is the greatest length of a boundary (RFC 2046).
const maxBoundary = 70

func (c *content) checkBoundary() error {
	switch n := len(c.params["boundary"]); {
	case n == 0:
		return malformed("Content-Type %s has no boundary", formMediaType)
	case n > maxBoundary:
		return malformed("Content-Type %s has a boundary of %d bytes, more than %d", formMediaType, n, maxBoundary)
	}
	return nil
}

// checkCoding returns an error for a Content-Encoding that the builder does not
// detect by the content.
func (c *content) checkCoding(header http.Header) error {
	var codings []string
	for _, value := range header.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			if coding = strings.ToLower(strings.TrimSpace(coding)); coding != "" && coding != "identity" {
				codings = append(codings, coding)
			}
		}
	}
	if len(codings) == 0 {
		return nil
	}
	advice := "use gzip or zstd"
	switch {
	case c.mediaType == formMediaType:
		advice = "compress the file in the form, or send the file as the body"
	case len(codings) > 1:
		advice = "compress the data set once"
	case codings[0] == "gzip", codings[0] == "x-gzip", codings[0] == "zstd":
		return nil
	}
	return &unsupportedError{fmt.Sprintf("Content-Encoding %.40q: %s", strings.Join(codings, ", "), advice), "Accept-Encoding", "gzip, zstd"}
}

// curlAdvice returns advice if bad is probably the only line of a body that curl
// made of a mistake in its command line, or else an empty text. With --data, curl
// makes one line of a data set.
func (c *content) curlAdvice(bad *builder.BadRowsError) string {
	switch {
	case bad.Count != 1 || len(bad.Rows) != 1 || bad.Rows[0].Line != 1 || bad.Cause != nil:
		return ""
	case fileName.MatchString(bad.Rows[0].Text):
		return "the name of a file was sent instead of its content: use --form data=@FILE"
	case c.mediaType == curlMediaType:
		return "curl --data removes line ends: use --data-binary or --form"
	}
	return ""
}

// fileName matches what curl sends of --form data=FILE and --data-binary FILE,
// which lack the @ before FILE, and of --data data=@FILE and --data-raw @FILE.
var fileName = regexp.MustCompile(`^(data=)?@?[\w./-]*(/[\w.-]+|\.(csv|tsv|txt|gz|zst|zip))$`)
