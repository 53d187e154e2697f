package load

import (
	"errors"
	"testing"
)

func TestParse(t *testing.T) {
	http := "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 12\r\nX: y\r\n\r\n"
	for _, c := range []struct {
		name      string
		parse     func([]byte) (int, int, error)
		in        string
		status, n int
		err       error
	}{
		{"http", parseHTTP, http + "not here, no", 404, len(http) + 12, nil},
		{"http, head only", parseHTTP, http, 404, len(http) + 12, nil},
		{"http, cut", parseHTTP, http[:len(http)-1], 0, 0, nil},
		{"http, nothing", parseHTTP, "", 0, 0, nil},
		{"http, empty body", parseHTTP, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, len("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), nil},
		{"http, chunked", parseHTTP, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0, errMalformed},
		{"http, no number", parseHTTP, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, 0, errMalformed},
		{"http, no status", parseHTTP, "HTTP/1.1 \r\n\r\n", 0, 0, errMalformed},
		{"http, other", parseHTTP, "SSH-2.0\r\n\r\n", 0, 0, errMalformed},
		{"redis", parseRedis, "$3\r\nabc\r\n", 200, 9, nil},
		{"redis, null", parseRedis, "$-1\r\n", 404, 5, nil},
		{"redis, cut", parseRedis, "$3\r", 0, 0, nil},
		{"redis, error", parseRedis, "-ERR no\r\n", 0, 0, errMalformed},
		{"redis, empty line", parseRedis, "\r\n", 0, 0, errMalformed},
	} {
		status, n, err := c.parse([]byte(c.in))
		if status != c.status || n != c.n || !errors.Is(err, c.err) {
			t.Errorf("%s: %d, %d, %v; want %d, %d, %v", c.name, status, n, err, c.status, c.n, c.err)
		}
	}
}
