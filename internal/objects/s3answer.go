package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Limits of answers, so that a broken server neither fills the memory nor keeps a
// call for ever. A page of 1,000 keys has up to 3.5 MiB and 25,000 tags.
const (
	maxAnswerLen  = 16 << 20 // bytes, except those of objects
	maxAnswerTags = 100_000  // of XML; the client takes 700 bytes for an empty object
	maxEmptyPages = 1000     // of a listing, one after the other
)

var maxListed = 1_000_000 // objects of a listing; variable for tests

// answers ends answers that make no progress, that are too long, and listings that
// do not end.
type answers struct{ http.RoundTripper }

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	if p, ok := r.Context().Value(pagesKey{}).(*pages); ok {
		if err := p.next(r.URL.Query().Get("continuation-token")); err != nil {
			return nil, permanent{err}
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	answer, err := a.RoundTripper.RoundTrip(r.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	body := io.Reader(answer.Body)
	if r.Header.Get("Range") == "" || answer.StatusCode >= http.StatusMultipleChoices { // not the bytes of an object
		body = &limitedReader{r: body, bytes: maxAnswerLen, tags: maxAnswerTags}
	}
	answer.Body = &answerBody{body, answer.Body, cancel}
	return answer, nil
}

// A limitedReader fails after a number of bytes or of tags of XML.
type limitedReader struct {
	r           io.Reader
	bytes, tags int // that may follow
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.bytes -= n
	l.tags -= bytes.Count(p[:n], []byte("<"))
	if l.bytes < 0 || l.tags < 0 {
		return 0, permanent{fmt.Errorf("the answer is longer than %d bytes or %d tags", maxAnswerLen, maxAnswerTags)}
	}
	return n, err
}

// An answerBody fails with errStalled if a Read takes too long.
type answerBody struct {
	io.Reader
	io.Closer
	cancel context.CancelFunc
}

func (b *answerBody) Read(p []byte) (int, error) {
	timer := time.AfterFunc(stallLimit, b.cancel)
	n, err := b.Reader.Read(p)
	if !timer.Stop() && err != nil && !errors.Is(err, io.EOF) {
		err = errStalled
	}
	return n, err
}

func (b *answerBody) Close() error {
	defer b.cancel()
	return b.Closer.Close()
}

// pages follows the requests of a listing. They have it in their context.
type pages struct {
	empty int    // pages since the last object
	token string // of the last request
}

type pagesKey struct{}

// next reports an error if the listing does not end.
func (p *pages) next(token string) error {
	if token != "" && token == p.token {
		return errors.New("the listing repeats a page")
	}
	p.token = token
	if p.empty++; p.empty > maxEmptyPages {
		return fmt.Errorf("the listing has more than %d empty pages", maxEmptyPages)
	}
	return nil
}
