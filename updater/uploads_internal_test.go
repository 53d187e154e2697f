package updater

import (
	"net/http"
	"testing"
)

func TestUploadsKeepsLatest(t *testing.T) {
	var l uploads
	var ids []string
	for range maxUploads + 10 {
		u := newUpload(content{})
		l.add(u)
		ids = append(ids, u.id)
	}
	for i, id := range ids {
		u, ok := l.find(id)
		if want := i >= 10; ok != want || ok && u.id != id {
			t.Errorf("upload %d: found %t, want %t", i, ok, want)
		}
	}
	if len(l.list) != maxUploads {
		t.Errorf("%d uploads, want %d", len(l.list), maxUploads)
	}
}

func TestPrefersAsync(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   bool
	}{
		{nil, false},
		{[]string{""}, false},
		{[]string{"respond-async"}, true},
		{[]string{"Respond-Async"}, true},
		{[]string{"return=minimal, respond-async;q=1 , wait=10"}, true},
		{[]string{"return=minimal", "respond-async"}, true},
		{[]string{"respond-asynchronously"}, false},
		{[]string{"handling=respond-async"}, false},
	} {
		if got := prefersAsync(http.Header{"Prefer": c.values}); got != c.want {
			t.Errorf("%q: %t, want %t", c.values, got, c.want)
		}
	}
}
