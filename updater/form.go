package updater

import (
	"bufio"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

const (
	fieldName   = "data"
	readLen     = 256 << 10 // buffer for reading a form, in bytes
	maxEpilogue = 4 << 10   // bytes allowed after the end of a form
)

// dataSet returns a reader of the data set in the body of a request: the body
// itself, or the only field of a form. It does not read the body, because the
// first Read asks a client that sent "Expect: 100-continue" to send.
func (c *content) dataSet(body io.Reader) io.Reader {
	if c.mediaType != formMediaType {
		return body // the builder detects the compression by the content
	}
	buffered := bufio.NewReaderSize(body, readLen)
	return &formReader{form: multipart.NewReader(buffered, c.params["boundary"]), rest: buffered}
}

// A formReader reads the only field of a form. It returns io.EOF after it has
// read the form to its end, so that a form that was cut off is an error.
type formReader struct {
	form *multipart.Reader
	rest io.Reader // the bytes after the form
	part *multipart.Part
	err  error // of the last Read
}

// Read returns the same error again after an error, io.EOF included: the builder
// reads an input of less than 4 bytes to its end twice.
func (f *formReader) Read(p []byte) (n int, err error) {
	if f.err == nil {
		n, f.err = f.read(p)
	}
	return n, f.err
}

func (f *formReader) read(p []byte) (int, error) {
	if f.part == nil {
		part, err := f.next()
		if errors.Is(err, io.EOF) {
			return 0, malformed("the form has no field %q", fieldName)
		}
		if err != nil {
			return 0, err
		}
		f.part = part
	}
	n, err := f.part.Read(p)
	switch {
	case errors.Is(err, io.EOF) && n == 0:
		return 0, f.end()
	case errors.Is(err, io.EOF):
		return n, nil // the next Read returns the end
	case err != nil:
		return n, formError(err)
	}
	return n, nil
}

// next returns the next part, which must be the field with the data set.
func (f *formReader) next() (*multipart.Part, error) {
	part, err := f.form.NextRawPart() // NextPart would decode quoted-printable
	if err == io.EOF {                //nolint:errorlint // a wrapped io.EOF is a form without an end
		return nil, io.EOF
	}
	if err != nil {
		return nil, formError(err)
	}
	return part, checkPart(part)
}

// checkPart returns an error if part is not the field with the data set.
func checkPart(part *multipart.Part) error {
	const name = "Content-Disposition"
	values := part.Header.Values(name)
	if len(values) != 1 {
		return malformed("a part of the form has %d headers %s, not one", len(values), name)
	}
	disposition, params, err := mime.ParseMediaType(values[0])
	switch {
	case err != nil:
		return malformed("a part of the form has the %s %.80q: %v", name, values[0], err)
	case disposition != "form-data":
		return malformed("a part of the form has the %s %.80q: it is not form-data", name, values[0])
	case params["name"] != fieldName:
		return malformed("the form has the field %.40q: only %q is allowed", params["name"], fieldName)
	}
	if value := part.Header.Get("Content-Transfer-Encoding"); !isTransparent(value) {
		return malformed("the field %q has the Content-Transfer-Encoding %.40q: send it as it is", fieldName, value)
	}
	c, err := contentOf(http.Header(part.Header))
	if err == nil && c.mediaType == formMediaType {
		err = malformed("the field %q has the Content-Type %s", fieldName, formMediaType)
	}
	return err
}

// isTransparent reports whether a Content-Transfer-Encoding leaves the bytes as
// they are (RFC 2045).
func isTransparent(encoding string) bool {
	switch strings.ToLower(encoding) {
	case "", "7bit", "8bit", "binary":
		return true
	}
	return false
}

// end returns io.EOF if only the end of the form and a short epilogue follow.
func (f *formReader) end() error {
	_, err := f.next()
	switch {
	case err == nil:
		return malformed("the form has the field %q twice", fieldName)
	case !errors.Is(err, io.EOF):
		return err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(f.rest, maxEpilogue+1))
	switch {
	case err != nil:
		return formError(err)
	case n > maxEpilogue:
		return malformed("more than %d bytes follow the end of the form", maxEpilogue)
	}
	return io.EOF
}

// formError returns err if reading the body failed, and otherwise reports a
// malformed form.
func formError(err error) error {
	if errors.As(err, new(*TooLargeError)) || errors.Is(err, errStalled) || errors.Is(err, errCut) {
		return err
	}
	return malformed("the form is cut off or damaged: %v", err)
}
