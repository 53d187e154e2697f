package updater

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"

	"promostore/internal/fsx"
	"promostore/web"
)

// maxTokenFile is the maximum length of a token file, in bytes.
const maxTokenFile = 64 << 10

var (
	errUnauthorized = errors.New("a token is required: Authorization: Bearer TOKEN")
	errCertificate  = errors.New("a client certificate is required")
)

// A forbiddenError reports a request that a browser sends for a page of another
// site, or that may be one.
type forbiddenError struct{ cause error }

func (e *forbiddenError) Error() string { return e.cause.Error() }
func (e *forbiddenError) Unwrap() error { return e.cause }

// A HostError reports a request for a host that Options.AllowedHosts lacks.
type HostError struct{ Host string }

func (e *HostError) Error() string {
	return fmt.Sprintf("the host %.100q is not allowed without credentials", e.Host)
}

// An authorizer decides which requests may upload.
type authorizer struct {
	tokenFile  string   // empty: no token required
	clientCert bool     // a verified client certificate is required
	hosts      []string // allowed in Host headers, besides those of this machine
	origins    *http.CrossOriginProtection
	log        *slog.Logger
}

// checkHost returns an error if no credentials are required and the Host header
// of r may be the name of another site.
func (a *authorizer) checkHost(r *http.Request) error {
	if a.tokenFile != "" || a.clientCert || web.LocalHost(r, a.hosts) {
		return nil
	}
	return &forbiddenError{&HostError{r.Host}}
}

// check returns an error if r may not upload. A token and a certificate are
// both required if both are configured.
func (a *authorizer) check(r *http.Request) error {
	if err := a.checkHost(r); err != nil {
		return err
	}
	if err := a.origins.Check(r); err != nil {
		return &forbiddenError{err}
	}
	return a.checkCredentials(r)
}

// offers reports whether r has credentials, or none are required.
func (a *authorizer) offers(r *http.Request) bool {
	certificate := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	return a.tokenFile == "" && !a.clientCert || certificate || r.Header.Get("Authorization") != ""
}

// checkCredentials returns an error if r lacks the token or the certificate.
func (a *authorizer) checkCredentials(r *http.Request) error {
	if a.clientCert && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return errCertificate
	}
	if a.tokenFile == "" {
		return nil
	}
	// Read for every request, so that a change takes effect at once.
	tokens, err := readTokens(a.tokenFile)
	if err != nil {
		a.log.Error("token file", "error", err)
		return errUnauthorized
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !tokens.has(token) {
		return errUnauthorized
	}
	return nil
}

// tokens are the hashes of the valid tokens. Hashes have one length, so that a
// comparison does not reveal the length of a token.
type tokens [][sha256.Size]byte

// readTokens reads a file with one token per line. Several tokens let clients
// move from an old one to a new one.
func readTokens(path string) (tokens, error) {
	f, err := fsx.OpenRegular(path) // a pipe would hold the request until someone writes to it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTokenFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxTokenFile)
	}
	var list tokens
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			list = append(list, sha256.Sum256(line))
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s contains no token", path)
	}
	return list, nil
}

// has reports whether token is valid, in constant time.
func (t tokens) has(token string) bool {
	hash := sha256.Sum256([]byte(token))
	found := 0
	for _, valid := range t {
		found |= subtle.ConstantTimeCompare(hash[:], valid[:])
	}
	return found == 1
}
