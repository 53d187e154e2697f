package objects_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"promostore/internal/objects"
	"promostore/internal/objecttest"
)

// page answers with a page of a listing that another page follows.
func page(w io.Writer, contents, token string) {
	fmt.Fprintf(w, "<ListBucketResult><IsTruncated>true</IsTruncated>%s<NextContinuationToken>%s</NextContinuationToken></ListBucketResult>", contents, token)
}

// endless sends the same text until the client goes away.
func endless(status int, begin, text string) objecttest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.WriteHeader(status)
		_, err := io.WriteString(w, begin)
		for text := strings.Repeat(text, 1+10_000/len(text)); err == nil; {
			_, err = io.WriteString(w, text)
		}
	}
}

// A listing that does not end fails, with few requests and little memory.
func TestListEnds(t *testing.T) {
	var n atomic.Int64 // requests
	for name, c := range map[string]struct {
		fault    objecttest.Fault
		want     string
		requests int
	}{
		"long page":  {endless(200, "<ListBucketResult><Prefix>", "x"), "the answer is longer than 16777216 bytes", 1},
		"many tags":  {endless(200, "<ListBucketResult>", "<Contents/>"), "or 100000 tags", 1},
		"long error": {endless(403, "<Error><Message>", "x"), "access denied", 1},
		"empty pages": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			page(w, "", fmt.Sprint(n.Load()))
		}, "the listing has more than 1000 empty pages", 1000},
		"same token": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			page(w, "", "token")
		}, "the listing repeats a page", 2},
		"same token with objects": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			page(w, fmt.Sprintf("<Contents><Key>%05d</Key></Contents>", n.Load()), "token")
		}, "the listing repeats a page", 2},
		"many objects": {func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			page(w, fmt.Sprintf("<Contents><Key>%05d</Key></Contents>", n.Load()), fmt.Sprint(n.Load()))
		}, "the listing has more than 50 objects; use a longer prefix", 51},
	} {
		t.Run(name, func(t *testing.T) {
			server, s := newS3(t)
			objects.SetMaxListed(t, 50)
			n.Store(0)
			server.Fail(objecttest.Where(objecttest.Lists, func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				n.Add(1)
				c.fault(w, r, next)
			}))
			var last error
			for _, err := range s.List(t.Context(), "") {
				last = err
			}
			if last == nil || !strings.Contains(last.Error(), c.want) || int(n.Load()) != c.requests {
				t.Errorf("error %v after %d requests; want %s after %d", last, n.Load(), c.want, c.requests)
			}
		})
	}
}

// An answer that does not end does not keep a read or a Put.
func TestLongAnswersEnd(t *testing.T) {
	server, s := newS3(t)
	r := open(t, s, random(1000))
	server.Fail(endless(403, "<Error><Message>", "x"))
	if err := readFull(r, 0); !errors.Is(err, objects.ErrDenied) {
		t.Errorf("read: %v", err)
	}
	server.Fail(endless(200, "", "x"))
	if _, err := s.Put(t.Context(), "o", strings.NewReader("data"), 4, objects.Always); err != nil && !strings.Contains(err.Error(), "the answer is longer") {
		t.Errorf("Put: %v", err)
	}
}
