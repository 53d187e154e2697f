package updater

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"promostore/web"
)

var (
	errMissingToken = errors.New("a token is needed: Authorization: Bearer TOKEN")
	errWrongToken   = errors.New("wrong token")
	errCertificate  = errors.New("a client certificate is required")
	errOrigin       = errors.New("cross-origin request: a browser sent it from a page of another site")
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
	tokens     *tokenFile // nil: no token required
	clientCert bool       // a verified client certificate is required
	hosts      []string   // allowed in Host headers, besides those of this machine
	origins    *http.CrossOriginProtection
}

// checkHost returns an error if no credentials are required and the Host header
// of r may be the name of another site.
func (a *authorizer) checkHost(r *http.Request) error {
	if a.tokens != nil || a.clientCert || web.LocalHost(r, a.hosts) {
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
		return &forbiddenError{errOrigin}
	}
	return a.checkCredentials(r)
}

// offers reports whether r has credentials to check, or none are required. If a token
// is required, a certificate alone is no attempt: a browser sends it with each request,
// and shows the page in which the token is typed.
func (a *authorizer) offers(r *http.Request) bool {
	certificate := r.TLS != nil && len(r.TLS.VerifiedChains) > 0
	return r.Header.Get("Authorization") != "" || a.tokens == nil && (certificate || !a.clientCert)
}

// checkCredentials returns an error if r lacks the token or the certificate.
func (a *authorizer) checkCredentials(r *http.Request) error {
	if a.clientCert && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return errCertificate
	}
	if a.tokens == nil {
		return nil
	}
	tokens, _ := a.tokens.load() // logs its error
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return errMissingToken
	}
	if !tokens.has(token) {
		return errWrongToken
	}
	return nil
}

// tokenFileRefused reports whether a token is required and the token file cannot
// be used.
func (a *authorizer) tokenFileRefused() bool {
	if a.tokens == nil {
		return false
	}
	_, err := a.tokens.load()
	return err != nil
}
