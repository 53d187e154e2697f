// Package objecttest runs S3 servers for tests, and makes their answers fail.
package objecttest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"promostore/internal/objects"
)

// The credentials and the bucket of each Server.
const (
	AccessKeyID     = "AKIAPROMOSTORETEST"
	SecretAccessKey = "nKwRUmGYgYhbRhx0tFPFh3XJ0NqTnH1cHVfqBD3G"
	Bucket          = "bucket"
)

// A Server is an S3 server that can be told to fail.
type Server struct {
	URL string

	fault    atomic.Pointer[Fault]
	mu       sync.Mutex
	requests []string
	keyID    string // that it accepts
}

// signedWith reports whether r is signed with the access key.
func signedWith(r *http.Request, keyID string) bool {
	return strings.Contains(r.Header.Get("Authorization"), "Credential="+keyID+"/")
}

// A Fault answers a request in place of next, or with it.
type Fault func(w http.ResponseWriter, r *http.Request, next http.Handler)

// New starts a Server in this process, with an empty bucket, until the test ends.
// It accepts requests that are signed with AccessKeyID, but does not check the
// signature.
func New(t testing.TB) *Server {
	t.Helper()
	fake := gofakes3.New(s3mem.New(), gofakes3.WithTimeSkewLimit(0)).Server()
	s := start(t, &conditions{fake: fake})
	s.keyID = AccessKeyID
	fake.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/"+Bucket, nil))
	return s
}

// start starts a Server whose requests go to next, unless a fault takes them.
func start(t testing.TB, next http.Handler) *Server {
	s := new(Server)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.RequestURI())
		keyID := s.keyID
		s.mu.Unlock()
		if keyID != "" && !signedWith(r, keyID) {
			Error(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")(w, r, next)
			return
		}
		if f := s.fault.Load(); f != nil {
			(*f)(w, r, next)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // before Close, which waits for requests
	s.URL = server.URL
	return s
}

// Options returns the options that select the server.
func (s *Server) Options() objects.Options { return objects.Options{Endpoint: s.URL} }

// Setenv sets the environment of programs and stores that use the server, until
// the test ends.
func (s *Server) Setenv(t testing.TB) {
	t.Helper()
	for name, value := range s.Environ() {
		t.Setenv(name, value)
	}
}

// noFile is not a file, and no program can create it, unlike /nonexistent, the home
// of some users.
const noFile = "/proc/none"

// Environ returns the variables that Setenv sets.
func (s *Server) Environ() map[string]string {
	return map[string]string{
		"AWS_ENDPOINT_URL": s.URL, "AWS_ENDPOINT_URL_S3": s.URL,
		"AWS_ACCESS_KEY_ID": AccessKeyID, "AWS_SECRET_ACCESS_KEY": SecretAccessKey, "AWS_SESSION_TOKEN": "",
		"AWS_REGION": "us-east-1", "AWS_PROFILE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_SHARED_CREDENTIALS_FILE": noFile, "AWS_CONFIG_FILE": noFile,
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "",
	}
}

// Fail sends each following request to f; nil ends that.
func (s *Server) Fail(f Fault) {
	if f == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&f)
}

// Accept makes another access key valid, and the previous one invalid.
func (s *Server) Accept(keyID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keyID = keyID
}

// Requests returns the method and the URL of all requests since the last call.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := s.requests
	s.requests = nil
	return requests
}
