package load

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// The statuses of answers, which are those of HTTP.
const (
	statusFound   = 200
	statusMissing = 404
)

var (
	errMalformed = errors.New("malformed answer")

	headEnd       = []byte("\r\n\r\n")
	lineEnd       = []byte("\r\n")
	httpVersion   = []byte("HTTP/1.1 ")
	contentLength = []byte("\r\nContent-Length: ")
)

// parseHTTP reads the head of an answer. n is the length of the whole answer;
// 0 if more of it is needed to tell.
func parseHTTP(b []byte) (status, n int, err error) {
	end := bytes.Index(b, headEnd)
	if end < 0 {
		return 0, 0, nil
	}
	head := b[:end+len(lineEnd)]
	if !bytes.HasPrefix(head, httpVersion) || len(head) < len(httpVersion)+len("200 ") {
		return 0, 0, fmt.Errorf("%w: %.40q", errMalformed, b)
	}
	status, ok := number(head[len(httpVersion) : len(httpVersion)+3])
	if !ok {
		return 0, 0, fmt.Errorf("%w: %.40q", errMalformed, b)
	}
	at := bytes.Index(head, contentLength)
	if at < 0 {
		return 0, 0, fmt.Errorf("%w: no Content-Length in %q", errMalformed, head)
	}
	value := head[at+len(contentLength):]
	bodyLen, ok := number(value[:bytes.Index(value, lineEnd)])
	if !ok {
		return 0, 0, fmt.Errorf("%w: Content-Length in %q", errMalformed, head)
	}
	return status, end + len(headEnd) + bodyLen, nil
}

// parseRedis is parseHTTP for a bulk string, and for null, which is a value
// that is missing.
func parseRedis(b []byte) (status, n int, err error) {
	end := bytes.Index(b, lineEnd)
	switch {
	case end < 0:
		return 0, 0, nil
	case string(b[:end]) == "$-1":
		return statusMissing, end + len(lineEnd), nil
	}
	digits, bulk := bytes.CutPrefix(b[:end], []byte("$"))
	valueLen, ok := number(digits)
	if !bulk || !ok {
		return 0, 0, fmt.Errorf("%w: %q", errMalformed, b[:end])
	}
	return statusFound, end + len(lineEnd) + valueLen + len(lineEnd), nil
}

// number is the decimal number in b. strconv.Atoi would have it as a string.
func number(b []byte) (n int, ok bool) {
	if len(b) == 0 || len(b) > 9 {
		return 0, false
	}
	for _, c := range b {
		if c -= '0'; c > 9 {
			return 0, false
		}
		n = n*10 + int(c)
	}
	return n, true
}

func wrongStatus(got, want int) string {
	return "status " + strconv.Itoa(got) + ", not " + strconv.Itoa(want)
}
