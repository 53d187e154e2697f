package updater_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/internal/fsx"
	"promostore/updater"
	"promostore/web"
)

func TestUploadRequiresToken(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(file, []byte("first\r\n\n  second \n"), 0o600))
	f := start(t, func(o *updater.Options) { o.TokenFile = file })
	csv := dataSet(t, 10)
	check := func(header string, want int) {
		t.Helper()
		var headers []string
		if header != "" {
			headers = []string{"Authorization", header}
		}
		a := f.post(t, strings.NewReader(csv), headers...)
		reason := ""
		if want != http.StatusCreated {
			reason = "unauthorized"
		}
		a.want(t, want, reason)
		if (a.header.Get("WWW-Authenticate") == "Bearer") != (want == http.StatusUnauthorized) {
			t.Errorf("%q: WWW-Authenticate is %q", header, a.header.Get("WWW-Authenticate"))
		}
	}
	for _, header := range []string{"Bearer first", "bearer second"} {
		check(header, http.StatusCreated)
	}
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer firs", "Bearer firstx", "Bearer first\tsecond", "Basic first", "first", "Bearer  first"} {
		check(header, http.StatusUnauthorized)
	}
	// The rejection comes before the client sends the body.
	c := f.dialExpectContinue(t, "1000000000")
	readAnswer(t, c).want(t, http.StatusUnauthorized, "unauthorized")
	if a := f.get(t, "/status"); a.code != http.StatusOK {
		t.Errorf("/status without a token: %s", a)
	}

	// A change of the file takes effect at once.
	must(t, os.WriteFile(file, []byte("third\n"), 0o600))
	check("Bearer first", http.StatusUnauthorized)
	check("Bearer third", http.StatusCreated)
	must(t, os.WriteFile(file, nil, 0o600)) // truncated, as in the middle of a change
	check("Bearer third", http.StatusUnauthorized)
	check("Bearer ", http.StatusUnauthorized)
	must(t, os.Remove(file))
	check("Bearer third", http.StatusUnauthorized)
	must(t, syscall.Mkfifo(file, 0o600)) // without a writer, an open of it blocks
	check("Bearer third", http.StatusUnauthorized)
}

// A page of another site whose name points at the updater (DNS rebinding) can
// neither upload nor read.
func TestForeignHostNeedsCredentials(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("token\n"), 0o600))
	open := start(t, func(o *updater.Options) { o.AllowedHosts = []string{"updater"} })
	closed := start(t, func(o *updater.Options) { o.TokenFile = tokens })
	request := func(f *fixture, method, path, host string) answer {
		req, err := http.NewRequest(method, "http://"+f.address+path, strings.NewReader(dataSet(t, 1)))
		must(t, err)
		req.Host = host
		req.Header.Set("Origin", "http://"+host)
		req.Header.Set("Authorization", "Bearer token")
		res, err := f.client.Do(req)
		must(t, err)
		if path == "/prometheus" && res.StatusCode == http.StatusOK {
			res.Body.Close()
			return answer{code: res.StatusCode}
		}
		return read(t, res)
	}
	for _, host := range []string{"evil.example", "evil.example:1322", "localhost.evil.example", "192.0.2.1"} {
		for path, method := range map[string]string{"/upload": "POST", "/status": "GET", "/prometheus": "GET", "/metrics": "GET"} {
			request(open, method, path, host).want(t, http.StatusForbidden, "unauthorized")
		}
		if a := request(open, "GET", "/readyz", host); a.code != http.StatusOK {
			t.Errorf("/readyz with the host %s: %s", host, a)
		}
		request(closed, "POST", "/upload", host).want(t, http.StatusCreated, "")
	}
	open.wantGenerations(t)
	for _, host := range []string{open.address, "localhost:1322", "updater:1322", "UPDATER"} {
		request(open, "POST", "/upload", host).want(t, http.StatusCreated, "")
		request(open, "GET", "/prometheus", host).want(t, http.StatusOK, "")
	}
}

// A wrong token is counted, and logged with the client. The client waits for its
// answer, and no other one does.
func TestWrongTokenIsSlowedDownLoggedAndCounted(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("right\n"), 0o600))
	f := newFixture(t, func(o *updater.Options) { o.TokenFile = tokens })
	paused, end := make(chan struct{}, 100), make(chan time.Time)
	f.SetRefusalPause(func() <-chan time.Time {
		paused <- struct{}{}
		return end
	})
	f.serve(t, nil)
	const wrong = 20
	answers := make(chan int, wrong)
	for range wrong {
		go func() {
			res, err := f.tryPost(strings.NewReader(dataSet(t, 1)), "Authorization", "Bearer wrong")
			if err != nil {
				t.Error(err)
				answers <- 0
				return
			}
			res.Body.Close()
			answers <- res.StatusCode
		}()
	}
	for range wrong {
		<-paused
	}
	f.post(t, strings.NewReader(dataSet(t, 1)), "Authorization", "Bearer right").want(t, http.StatusCreated, "")
	if len(answers) != 0 {
		t.Error("a wrong token is answered without a pause")
	}
	if got := f.metric(t, "promobuild_clients_refused_total"); got != "20" {
		t.Errorf("%s clients refused, want 20", got)
	}
	close(end)
	for range wrong {
		if code := <-answers; code != http.StatusUnauthorized {
			t.Errorf("answer %d, want %d", code, http.StatusUnauthorized)
		}
	}
	f.stop(t)
	log := f.log.String()
	if n := strings.Count(log, `msg="client refused" client=127.0.0.1:`); n < 1 || n > 5 {
		t.Errorf("%d refusals logged, want few:\n%s", n, log)
	}
	if n := strings.Count(log, `error="wrong token"`); n < 1 || strings.Count(log, "wrong") != n {
		t.Errorf("the log does not tell of a wrong token, or contains the token:\n%s", log)
	}
}

func TestShutdownEndsPauseOfWrongToken(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("right\n"), 0o600))
	f := newFixture(t, func(o *updater.Options) { o.TokenFile = tokens })
	paused := make(chan struct{})
	f.SetRefusalPause(func() <-chan time.Time {
		close(paused)
		return nil
	})
	f.serve(t, nil)
	answer := f.postAsync(t, strings.NewReader(dataSet(t, 1)))
	<-paused
	f.stop(t)
	(<-answer).want(t, http.StatusUnauthorized, "unauthorized")
}

func TestNewRejectsTokenFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	empty, long, bad := filepath.Join(dir, "empty"), filepath.Join(dir, "long"), filepath.Join(dir, "bad")
	must(t, os.WriteFile(empty, []byte("\n \n"), 0o600))
	must(t, os.WriteFile(long, []byte(strings.Repeat("x", 65<<10)), 0o600))
	refuse := func(path, want string) {
		t.Helper()
		if _, err := updater.New(updater.Options{TokenFile: path}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	refuse(pipe, fsx.ErrNotRegular.Error())
	refuse(empty, "contains no token")
	refuse(long, "longer than")
	refuse(filepath.Join(dir, "none"), "no such file")
	for _, line := range []string{"# team A", "two words", "Bearer secret", "tökèn", "a,b", "a=b", "=", "\"quoted\"", "a\x00", "\u00a0a", "\xef\xbb\xbfa", "a#b"} {
		must(t, os.WriteFile(bad, []byte("\xef\xbb\xbfabc\r\n\r\n"+line+"\r\ndef\r\n"), 0o600))
		refuse(bad, "bad:3: not a token of RFC 6750")
		if _, err := updater.New(updater.Options{TokenFile: bad}); len(line) > 1 && strings.Contains(err.Error(), line) {
			t.Errorf("the error quotes the line %q: %v", line, err)
		}
	}
}

// Tokens are read from files as editors on any system write them.
func TestTokenFileWithMarkAndLineEnds(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	const every = "AZaz09-._~+/=="
	must(t, os.WriteFile(file, []byte("\xef\xbb\xbfabc\r\n\t"+every+" \r\ndef"), 0o600))
	f := start(t, func(o *updater.Options) { o.TokenFile = file })
	for _, token := range []string{"abc", every, "def"} {
		f.post(t, strings.NewReader(dataSet(t, 1)), "Authorization", "Bearer "+token).want(t, http.StatusCreated, "")
	}
	f.post(t, strings.NewReader(dataSet(t, 1)), "Authorization", "Bearer \xef\xbb\xbfabc").want(t, http.StatusUnauthorized, "unauthorized")
}

// A file that changes to one that cannot be used keeps its previous tokens, and
// is logged once and counted. Its removal revokes all tokens.
func TestChangedTokenFileKeepsTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("first\n")
	f := start(t, func(o *updater.Options) { o.TokenFile = file })
	check := func(token string, code int, refused string) {
		t.Helper()
		reason := ""
		if code != http.StatusCreated {
			reason = "unauthorized"
		}
		f.post(t, strings.NewReader(dataSet(t, 1)), "Authorization", "Bearer "+token).want(t, code, reason)
		if got := f.metric(t, "promobuild_token_file_refused"); got != refused {
			t.Errorf("promobuild_token_file_refused is %s, want %s", got, refused)
		}
	}
	check("first", http.StatusCreated, "0")
	write("# team A\nsecond\n")
	for range 2 {
		check("first", http.StatusCreated, "1")
		check("second", http.StatusUnauthorized, "1")
	}
	write(strings.Repeat("x", 65<<10))
	check("first", http.StatusCreated, "1")
	write("second\n")
	check("first", http.StatusUnauthorized, "0")
	check("second", http.StatusCreated, "0")
	must(t, os.Remove(file))
	check("second", http.StatusUnauthorized, "1")
	write("# team A\nsecond\n")
	check("second", http.StatusUnauthorized, "1")
	f.stop(t)
	log := f.log.String()
	if n := strings.Count(log, `msg="token file refused"`); n != 4 {
		t.Errorf("%d refused files logged, want 4:\n%s", n, log)
	}
	if !strings.Contains(log, `tokens:1: not a token of RFC 6750`) || !strings.Contains(log, `msg="token file accepted"`) {
		t.Errorf("the log lacks a line:\n%s", log)
	}
}

// An upload requires a certificate of the configured authority; /status does
// not.
func TestUploadRequiresClientCertificate(t *testing.T) {
	certificates, err := web.SelfSigned()
	must(t, err)
	authority, key := certificate(t, nil, nil)
	good, goodKey := certificate(t, authority, key)
	other, otherKey := certificate(t, nil, nil)
	f := newFixture(t, func(o *updater.Options) { o.ClientCert = true })
	config := certificates.Config()
	config.ClientAuth = tls.VerifyClientCertIfGiven
	config.ClientCAs = x509.NewCertPool()
	config.ClientCAs.AddCert(authority)
	f.serve(t, config)
	upload := func(cert *x509.Certificate, key *ecdsa.PrivateKey) (*http.Response, error) {
		transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		if cert != nil {
			transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}, nil
			}
		}
		client := &http.Client{Transport: api.Transport(t, transport), Timeout: 20 * time.Second}
		return client.Post("https://"+f.address+"/upload", "text/csv", strings.NewReader(dataSet(t, 10)))
	}
	res, err := upload(nil, nil)
	must(t, err)
	read(t, res).want(t, http.StatusUnauthorized, "unauthorized")
	if res, err := upload(other, otherKey); err == nil {
		t.Errorf("certificate of another authority: %s", read(t, res))
	}
	f.wantGenerations(t)
	res, err = upload(good, goodKey)
	must(t, err)
	read(t, res).want(t, http.StatusCreated, "")
	res, err = f.client.Get("https://" + f.address + "/status")
	must(t, err)
	if a := read(t, res); a.code != http.StatusOK {
		t.Errorf("/status without a certificate: %s", a)
	}
	f.wantGenerations(t, 10)
}

// certificate returns a certificate for names that parent signs, or a self-signed
// authority if parent is nil.
func certificate(t *testing.T, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, names ...string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, name := range names {
		template.Subject.CommonName = name
	}
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}
