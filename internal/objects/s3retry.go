package objects

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// The waits before a request is repeated: 0.1 s, twice as long each time up to
// 5 s, and up to a half less at random. Together they are 10 to 20 s.
const maxAttempts = 10

var (
	firstWait = 100 * time.Millisecond // variable for tests
	maxWait   = 5 * time.Second
)

// attempts counts the requests without progress.
type attempts struct {
	n         int
	refreshed bool // the credentials, after they were refused
}

// progress allows as many attempts as at first.
func (a *attempts) progress() { *a = attempts{} }

// wait waits for the next attempt. It returns false if there is none.
func (a *attempts) wait(ctx context.Context) bool {
	if a.n++; a.n >= maxAttempts {
		return false
	}
	d := min(firstWait<<(a.n-1), maxWait)
	d -= rand.N(d/2 + 1)
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// permanent is an error that retry does not repeat, and returns unwrapped.
type permanent struct{ error }

// retry calls do until it succeeds, returns an error that remains, or has failed
// maxAttempts times without progress. It returns the last error for messages about
// key.
func (s *s3) retry(ctx context.Context, key string, do func(*attempts) error) error {
	var a attempts
	for {
		err := do(&a)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case refusesCredentials(err) && !a.refreshed:
			a.refreshed = true
			s.creds.Expire() // a file or a role may have newer ones
			continue
		case s.isTransient(err) && a.wait(ctx):
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		}
		err = s.explain(key, err)
		if a.n >= maxAttempts {
			err = fmt.Errorf("%w (%d attempts)", err, a.n)
		}
		return err
	}
}

// refusesCredentials reports whether other credentials may help.
func refusesCredentials(err error) bool {
	switch minio.ToErrorResponse(err).Code {
	case "ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired",
		"InvalidAccessKeyId", "SignatureDoesNotMatch":
		return true
	}
	return false
}

// isTransient reports whether a later request may succeed. Errors of connections
// are transient, unless they come from the configuration.
func (s *s3) isTransient(err error) bool {
	var e minio.ErrorResponse
	if errors.As(err, &e) {
		switch e.Code {
		case "SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "RequestTimeout", "OperationAborted",
			conflictCode, "Throttling", "ThrottlingException", "RequestLimitExceeded":
			return true
		case "AuthorizationHeaderMalformed", "InvalidRegion":
			return s.region == "" // the client takes the region from the answer
		}
		switch e.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, 499:
			return true
		}
		return e.StatusCode >= 500 && e.StatusCode != http.StatusNotImplemented
	}
	var (
		final permanent
		dns   *net.DNSError
		cert  *tls.CertificateVerificationError
		ca    x509.UnknownAuthorityError
		tlsE  tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &final), errors.As(err, &cert), errors.As(err, &ca), errors.As(err, &tlsE),
		errors.As(err, &dns) && dns.IsNotFound,
		errors.Is(err, http.ErrSchemeMismatch):
		return false
	}
	return true
}

// explain returns an error that names the object, is typed and has no
// credentials.
func (s *s3) explain(key string, err error) error {
	var final permanent
	if errors.As(err, &final) {
		return fmt.Errorf("%s: %w", s.URL(key), redacted{s.chain, final.error})
	}
	var e minio.ErrorResponse
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", s.URL(key), redacted{s.chain, cause(err)}) // may repeat a malformed answer
	}
	text := s.chain.redact(describe(e))
	switch {
	case e.Code == minio.NoSuchBucket:
		return fmt.Errorf("%s: bucket %w", s.URL(""), ErrNotFound)
	case e.Code == minio.NoSuchKey, e.StatusCode == http.StatusNotFound && e.Code != minio.NoSuchUpload:
		return fmt.Errorf("%s: %w", s.URL(key), ErrNotFound)
	case e.StatusCode == http.StatusUnauthorized, e.StatusCode == http.StatusForbidden, refusesCredentials(err):
		return fmt.Errorf("%s: %w: %s; %s", s.URL(key), ErrDenied, text, s.chain.describe())
	}
	return fmt.Errorf("%s: %s", s.URL(key), text)
}

// redacted is an error without secrets in its text.
type redacted struct {
	chain *chain
	error
}

func (r redacted) Error() string { return r.chain.redact(r.error.Error()) }
func (r redacted) Unwrap() error { return r.error }

const maxMessage = 300 // bytes of the message of a server

// describe returns the code and the message of an answer in one line.
func describe(e minio.ErrorResponse) string {
	text := strings.Join(strings.Fields(e.Message), " ")
	if e.Code != "" && !strings.HasPrefix(text, e.Code) {
		text = e.Code + ": " + text
	}
	if len(text) > maxMessage {
		text = strings.ToValidUTF8(text[:maxMessage], "") + "..."
	}
	return text
}

// cause returns the cause of a failed request without its URL.
func cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if strings.HasPrefix(err.Error(), "Connection closed by foreign host") { // by minio-go, for io.EOF
		return errors.New("the server closed the connection")
	}
	return err
}

// A watchdog cancels an upload that has made no progress for a while.
type watchdog struct {
	timer  *time.Timer
	cancel context.CancelCauseFunc
}

var errStalled = errors.New("the transfer stalled")

var stallLimit = time.Minute // variable for tests

// watch returns the context of an upload, which ends with stop.
func watch(ctx context.Context) (context.Context, *watchdog) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, &watchdog{time.AfterFunc(stallLimit, func() { cancel(errStalled) }), cancel}
}

func (w *watchdog) progress() { w.timer.Reset(stallLimit) }

// stop ends the upload.
func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// stalled returns the cause of the end of an upload.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
	}
	return err
}
