package updater

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// maxTokens is how long a file of tokens may be, in bytes.
const maxTokens = 64 << 10

var (
	errUnauthorized = errors.New("a token is needed: Authorization: Bearer TOKEN")
	errCertificate  = errors.New("a certificate of the client is needed")
)

// authorize is why a request may not upload, or nil. What the options ask for
// is needed together.
func (s *Server) authorize(r *http.Request) error {
	if err := s.origins.Check(r); err != nil {
		return &forbiddenError{err}
	}
	if s.opts.ClientCert && (r.TLS == nil || len(r.TLS.VerifiedChains) == 0) {
		return errCertificate
	}
	if s.opts.TokenFile == "" {
		return nil
	}
	// It is read each time, so that a change of it counts at once.
	tokens, err := readTokens(s.opts.TokenFile)
	if err != nil {
		s.log.Error("token file", "error", err)
		return errUnauthorized
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || !tokens.has(token) {
		return errUnauthorized
	}
	return nil
}

// A forbiddenError says that a browser sends what another site's page asks for.
type forbiddenError struct{ cause error }

func (e *forbiddenError) Error() string { return e.cause.Error() }

// tokens are hashes, which are all of one length.
type tokens [][sha256.Size]byte

// readTokens reads a file with one token a line; while clients move from an
// old one to a new one, both can stand there.
func readTokens(path string) (tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTokens+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTokens {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxTokens)
	}
	var list tokens
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			list = append(list, sha256.Sum256(line))
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s has no token", path)
	}
	return list, nil
}

// has takes the same time whatever the token is.
func (t tokens) has(token string) bool {
	hash := sha256.Sum256([]byte(token))
	found := 0
	for _, known := range t {
		found |= subtle.ConstantTimeCompare(hash[:], known[:])
	}
	return found == 1
}
