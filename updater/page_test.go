package updater_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"promostore/format/generation"
	"promostore/page"
	"promostore/updater"
	"promostore/web"
)

// wantPage checks the parts of the page that a client with this token gets.
func (f *fixture) wantPage(t *testing.T, path, token string, has, lacks []string) {
	t.Helper()
	code, text, header := f.getText(t, path, token)
	if code != 200 || header.Get("Cache-Control") != "no-store" || header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%s: %d %v", path, code, header)
	}
	for _, h := range page.Headers {
		if header.Get(h[0]) != h[1] {
			t.Errorf("%s: %s: %q", path, h[0], header.Get(h[0]))
		}
	}
	for _, part := range has {
		if !strings.Contains(text, part) {
			t.Errorf("%s with the token %q: the page lacks %q: %.9000s", path, token, part, text)
		}
	}
	for _, part := range append(lacks, "<script>") {
		if strings.Contains(text, part) {
			t.Errorf("%s with the token %q: the page has %q", path, token, part)
		}
	}
}

// The page shows builds, the inbox, texts of bad rows and persons to clients with the
// token. None of their hostile texts becomes markup.
func TestPageShowsBuildsToClientsWithToken(t *testing.T) {
	const evil = `"><script>alert(1)<`
	tokens, inbox := filepath.Join(t.TempDir(), "tokens"), t.TempDir()
	must(t, os.WriteFile(tokens, []byte("secret\n"), 0o600))
	f := newFixture(t, func(o *updater.Options) {
		withPage(o)
		o.TokenFile, o.Inbox, o.Build.MaxBadRows = tokens, inbox, 1
	})
	name := "<b>\u202e " + strings.ReplaceAll(evil, "/", "") + ".csv"
	f.put(t, name, dataSet(t, 2)+evil+"\n")
	f.put(t, "z<i>.csv", evil+"\n"+evil+"\n")
	f.poll(t, 4)
	f.serve(t, nil)
	list, err := generation.List(f.data)
	must(t, err)
	if len(list) != 1 {
		t.Fatalf("%d generations", len(list))
	}
	id := list[0].ID
	must(t, generation.SetPin(f.data, generation.Pin{Active: true, ID: id, By: "ana<u>", Reason: evil}))
	for _, path := range []string{"/", "/?id=1", "/?id=172FFC14-D229-4C93-B06B-F48B8C095512", fmt.Sprintf("/?from=%s&to=%[1]s", id)} {
		private := []string{"&lt;b&gt;", "alert(1)", "<details>", "Inbox: <b>0</b> waiting, <b>1</b> failed, <b>1</b> done", `<span class="tag good">published</span>`, `<span class="tag bad">bad rows</span>`, "ana&lt;u&gt;", "z&lt;i&gt;", "<summary>1 bad row</summary>", "<summary>2 bad rows</summary>"}
		both := []string{"promobuild updater", id.String() + " live", "inbox", "1 bad", `id="token"`, `data-action="rollback"`, "<noscript>"}
		f.wantPage(t, path, "secret", append(both, private...), []string{"\u202e", "type it below", "<u>", "<i>", "<b>\\u202e"})
		f.wantPage(t, path, "", append(both, "with the token: type it below"), append(private, "&lt;", "failed"))
		if code, text, header := f.getText(t, path, "wrong"); code != 401 || header.Get("Content-Type") != "application/json" {
			t.Errorf("%s with a wrong token: %d %.100s", path, code, text)
		}
	}
}

func TestPageWithoutCredentials(t *testing.T) {
	f := start(t, withPage)
	f.post(t, strings.NewReader("bad\n")).want(t, http.StatusUnprocessableEntity, "bad_rows")
	f.wantPage(t, "/", "", []string{"No generation is live", `<span class="tag bad">bad rows</span>`}, []string{"Inbox:", `id="token"`})
	const id = "172FFC14-D229-4C93-B06B-F48B8C095512"
	var ids []any
	for _, price := range []string{"1.50", "3"} {
		a := f.post(t, strings.NewReader(id+","+price+",2018-08-04 05:32:31 +0200 CEST\n"))
		a.want(t, http.StatusCreated, "")
		ids = append(ids, a.object["generation"])
	}
	f.wantPage(t, "/?id="+strings.ToLower(id), "", []string{`<td class="num up">&#43;100.0 %</td>`, "upload, 1 row, "}, nil)
	f.wantPage(t, fmt.Sprintf("/?from=%s&to=%s", ids...), "", []string{"<dt>Changed</dt><dd>1<", `<td class="num">1.50</td><td class="num">3</td>`}, nil)

	_, text, _ := f.getText(t, "/", "")
	for _, asset := range regexp.MustCompile(`"(assets/[^"]*)"`).FindAllStringSubmatch(text, -1) {
		code, text, header := f.getText(t, "/"+asset[1], "")
		if code != 200 || text == "" || header.Get("Cache-Control") != "public, max-age=31536000, immutable" || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", asset[1], code, header)
		}
	}
	for _, path := range []string{"/assets/", "/assets/page.js", "/index.html", "/activity", "//", "/./"} {
		if code, text, _ := f.getText(t, path, ""); code != 404 {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	for method, code := range map[string]int{"HEAD": 200, "POST": 405, "PUT": 405, "DELETE": 405} {
		req, err := http.NewRequest(method, "http://"+f.address+"/", nil)
		must(t, err)
		res, err := f.client.Do(req)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != code || code == 405 && res.Header.Get("Allow") != "GET" {
			t.Errorf("%s: %d %v", method, res.StatusCode, res.Header)
		}
	}
}

// A page of another site whose name points at the updater (DNS rebinding) gets no page.
func TestPageRefusesForeignHost(t *testing.T) {
	f := start(t, withPage)
	for host, code := range map[string]int{"evil.example": 403, "evil.example:1322": 403, "localhost": 200, f.address: 200} {
		req, err := http.NewRequest(http.MethodGet, "http://"+f.address+"/?id=1", nil)
		must(t, err)
		req.Host = host
		res, err := f.client.Do(req)
		must(t, err)
		res.Body.Close()
		if res.StatusCode != code {
			t.Errorf("host %s: %d, want %d", host, res.StatusCode, code)
		}
	}
}

// A browser with a certificate gets the page, in which the token is typed. Details need
// both.
func TestPageWithCertificateAndToken(t *testing.T) {
	certificates, err := web.SelfSigned()
	must(t, err)
	authority, key := certificate(t, nil, nil)
	cert, certKey := certificate(t, authority, key)
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("secret\n"), 0o600))
	f := newFixture(t, func(o *updater.Options) {
		withPage(o)
		o.TokenFile, o.ClientCert = tokens, true
	})
	config := certificates.Config()
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = x509.NewCertPool()
	config.ClientCAs.AddCert(authority)
	f.serve(t, config)
	browser := &http.Client{Transport: api.Transport(t, &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
		InsecureSkipVerify: true,
		Certificates:       []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: certKey}},
	}})}
	for _, c := range []struct {
		client  *http.Client
		token   string
		code    int
		details bool
	}{
		{browser, "", 200, false},
		{browser, "secret", 200, true},
		{browser, "wrong", 401, false},
		{f.client, "", 200, false},
		{f.client, "secret", 401, false},
	} {
		for _, path := range []string{"/", "/status", "/generations"} {
			req, err := http.NewRequest(http.MethodGet, "https://"+f.address+path, nil)
			must(t, err)
			if c.token != "" {
				req.Header.Set("Authorization", "Bearer "+c.token)
			}
			res, err := c.client.Do(req)
			must(t, err)
			text, err := io.ReadAll(res.Body)
			must(t, err)
			res.Body.Close()
			details := strings.Contains(string(text), "No build since") || strings.Contains(string(text), `"builds":`)
			if res.StatusCode != c.code || path != "/generations" && details != c.details {
				t.Errorf("%s, certificate %t, token %q: %d, details %t: %.200s", path, c.client == browser, c.token, res.StatusCode, details, text)
			}
		}
	}
}
