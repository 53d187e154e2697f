package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"promostore/cmd/internal/program"
)

// A probe requests one URL. It writes the request itself: a server at its
// connection limit answers before it reads, which http.Transport reports as an
// error.
type probe struct {
	url      *url.URL
	address  string // connects here
	insecure bool   // accept any certificate
}

var (
	errNoAnswer  = errors.New("no answer in time")
	errPlainHTTP = errors.New("HTTP response to an HTTPS request")
)

// localProbe returns a probe of the server that listens on address on this host.
// An address without a host means the loopback interface.
func localProbe(address, path string, secure bool) probe {
	u := &url.URL{Scheme: "http", Host: "localhost", Path: path}
	if secure {
		u.Scheme = "https"
	}
	if _, port, err := net.SplitHostPort(address); err == nil {
		u.Host = net.JoinHostPort("localhost", port)
	}
	return probe{u, address, true}
}

// remoteProbe returns a probe of a URL. A URL without a path gets path.
func remoteProbe(text, path string) (probe, error) {
	u, err := url.Parse(text)
	var syntax *url.Error
	switch {
	case errors.As(err, &syntax):
		return probe{}, syntax.Err // without the name of the function and the text
	case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return probe{}, errors.New("not an http or https URL, such as http://localhost:1321")
	case u.Path == "" || u.Path == "/":
		u.Path = path
	}
	port := u.Port()
	if port == "" {
		port = u.Scheme
	}
	address := net.JoinHostPort(u.Hostname(), port)
	if err := program.CheckAddress(address); err != nil {
		return probe{}, err
	}
	return probe{u, address, program.IsLoopback(u.Hostname())}, nil
}

// do returns the status code and the start of the body of the response.
func (p probe) do(ctx context.Context) (code int, body string, err error) {
	c, err := p.connect(ctx)
	if err == nil {
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		code, body, err = p.exchange(c)
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return 0, "", fmt.Errorf("%s: %w", p.url, errNoAnswer)
	case err != nil:
		return 0, "", fmt.Errorf("%s: %w", p.url, err)
	}
	return code, body, nil
}

func (p probe) connect(ctx context.Context) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, program.DialError(err)
	}
	if p.url.Scheme == "http" {
		return c, nil
	}
	t := tls.Client(c, &tls.Config{ServerName: p.url.Hostname(), InsecureSkipVerify: p.insecure})
	if err := t.HandshakeContext(ctx); err != nil {
		c.Close()
		var header tls.RecordHeaderError
		if errors.As(err, &header) && string(header.RecordHeader[:]) == "HTTP/" {
			return nil, errPlainHTTP
		}
		return nil, err
	}
	return t, nil
}

func (p probe) exchange(c net.Conn) (code int, body string, err error) {
	req := &http.Request{Method: http.MethodGet, URL: p.url, Header: http.Header{}, Close: true}
	writeErr := req.Write(c) // fails if the server has answered and closed
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return 0, "", errors.Join(writeErr, err)
	}
	defer res.Body.Close()
	const maxBody = 1000 // bytes that a message quotes
	text, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	return res.StatusCode, strings.TrimSpace(string(text)), err
}
