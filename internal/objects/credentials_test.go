package objects_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"promostore/internal/objects"
	"promostore/internal/objecttest"
)

const (
	secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	token  = "FwoGZXIvYXdzEXAMPLETOKEN"
)

// noCredentials returns a server and takes the credentials of the environment
// away.
func noCredentials(t *testing.T) *objecttest.Server {
	server := objecttest.New(t)
	server.Setenv(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	return server
}

func credentialsFile(t *testing.T, keyID string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials")
	text := fmt.Sprintf("[other]\naws_access_key_id = %s\naws_secret_access_key = %s\naws_session_token = %s\n", keyID, secret, token)
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// metadata serves the credentials of a role like an instance or a container.
func metadata(t *testing.T, keyID string) string {
	mux := http.NewServeMux()
	role := fmt.Sprintf(`{"Code":"Success","AccessKeyId":%q,"SecretAccessKey":%q,"Token":%q,"Expiration":%q}`,
		keyID, secret, token, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	mux.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metadata-token") })
	mux.HandleFunc("GET /latest/meta-data/iam/security-credentials/", func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-aws-ec2-metadata-token") != "metadata-token":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/"):
			fmt.Fprint(w, "role")
		default:
			fmt.Fprint(w, role)
		}
	})
	mux.HandleFunc("GET /container", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, role) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL
}

// Credentials come from the environment, a shared file, a container or an
// instance.
func TestCredentialsChain(t *testing.T) {
	for name, set := range map[string]func(t *testing.T){
		"environment": func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "KEY")
			t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", credentialsFile(t, "OTHER"))
		},
		"shared file": func(t *testing.T) {
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", credentialsFile(t, "KEY"))
			t.Setenv("AWS_PROFILE", "other")
		},
		"container": func(t *testing.T) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", metadata(t, "KEY")+"/container")
		},
		"instance": func(t *testing.T) {
			t.Setenv("AWS_EC2_METADATA_DISABLED", "")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata(t, "KEY"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := noCredentials(t)
			server.Accept("KEY")
			set(t)
			s, _ := parse(t, "s3://bucket", server.Options())
			put(t, s, "o", []byte("x"))
		})
	}
}

// Credentials that expire while a program runs are read again.
func TestCredentialsExpire(t *testing.T) {
	server := noCredentials(t)
	path := credentialsFile(t, "OLD")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", path)
	t.Setenv("AWS_PROFILE", "other")
	server.Accept("OLD")
	s, _ := parse(t, "s3://bucket", server.Options())
	r := open(t, s, random(1000))
	must(t, os.Rename(credentialsFile(t, "NEW"), path))
	server.Accept("NEW")
	must(t, readFull(r, 0))
	server.Fail(objecttest.First(1, objecttest.Gets, objecttest.Error(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")))
	must(t, readFull(r, 0))
	server.Fail(objecttest.Error(http.StatusBadRequest, "ExpiredToken", "The provided token has expired."))
	for _, err := range []error{readFull(r, 0), deleteErr(t, s), openErr(t, s)} {
		if !errors.Is(err, objects.ErrDenied) || !strings.Contains(err.Error(), "ExpiredToken: The provided token has expired.; the credentials are from profile other of "+path) {
			t.Errorf("error %v", err)
		}
	}
}

func deleteErr(t *testing.T, s objects.Store) error { return s.Delete(t.Context(), "o") }

func openErr(t *testing.T, s objects.Store) error {
	_, err := s.Open(t.Context(), "o")
	return err
}

// ErrDenied tells which places had credentials, but no credentials, even if the
// server or a damaged file repeats them.
func TestDeniedNamesPlacesAndNoSecrets(t *testing.T) {
	damaged := filepath.Join(t.TempDir(), "damaged")
	must(t, os.WriteFile(damaged, []byte("[default]\n"+secret+"\n"), 0o600))
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"none": {nil, "there are no credentials; tried AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: not set; " +
			"profile default of /proc/none and /proc/none: "},
		"damaged file": {map[string]string{"AWS_SHARED_CREDENTIALS_FILE": damaged}, "profile default of " + damaged + " and /proc/none: no usable credentials"},
		"wrong": {map[string]string{"AWS_ACCESS_KEY_ID": "WRONG", "AWS_SECRET_ACCESS_KEY": secret, "AWS_SESSION_TOKEN": token},
			"the credentials are from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"},
		"no metadata": {map[string]string{"AWS_EC2_METADATA_DISABLED": "", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"},
			"instance metadata: dial tcp 127.0.0.1:1: connect: connection refused"},
		"container": {map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/" + token},
			"AWS_CONTAINER_CREDENTIALS_FULL_URI: dial tcp 127.0.0.1:1: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			server := noCredentials(t)
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			server.Accept("")
			server.Fail(objecttest.Error(http.StatusForbidden, "AccessDenied", "Denied "+secret+" "+token))
			s, _ := parse(t, "s3://bucket", server.Options())
			for _, err := range []error{openErr(t, s), deleteErr(t, s)} {
				if !errors.Is(err, objects.ErrDenied) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %s", err, c.want)
				}
				places := strings.SplitN(err.Error(), "; ", 2)
				if name == "wrong" && strings.Contains(err.Error(), secret) || strings.Contains(places[1], secret) || strings.Contains(places[1], token) {
					t.Errorf("error %v contains credentials", err)
				}
			}
		})
	}
}

// A secret that a server repeats in a header is not in the error.
func TestErrorOfWrongHeaderHasNoSecret(t *testing.T) {
	server, s := newS3(t)
	r := open(t, s, random(1000))
	server.Fail(objecttest.Where(objecttest.Gets, header("Content-Range", objecttest.SecretAccessKey)))
	if err := readFull(r, 0); err == nil || !strings.Contains(err.Error(), `the range "REDACTED"`) {
		t.Errorf("error %v", err)
	}
}

// A metadata service that fails for a while does not end a program whose
// credentials expire: it never sends requests without a signature.
func TestCredentialsAreRenewedAfterFailure(t *testing.T) {
	server := noCredentials(t)
	server.Accept("KEY")
	var failures, asked atomic.Int64
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		if failures.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintf(w, `{"AccessKeyId":"KEY","SecretAccessKey":%q,"Token":%q,"Expiration":%q}`,
			secret, token, time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)) // expired, so that each request asks
	}))
	defer imds.Close()
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", imds.URL)
	s, _ := parse(t, "s3://bucket", server.Options())
	put(t, s, "o", []byte("x"))
	failures.Store(3)
	asked.Store(0)
	put(t, s, "o", []byte("y"))
	if n := asked.Load(); n < 4 {
		t.Errorf("asked %d times", n)
	}
	failures.Store(1000)
	if err := openErr(t, s); err == nil || !strings.Contains(err.Error(), "there are no credentials; tried ") {
		t.Errorf("error %v", err)
	}
}

// The instance metadata are asked once, not for each request, where there are
// none.
func TestMissingCredentialsAreSearchedOnce(t *testing.T) {
	server := noCredentials(t)
	server.Accept("")
	asked := 0
	imds := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusNotFound)
	}))
	defer imds.Close()
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", imds.URL)
	s, _ := parse(t, "s3://bucket", server.Options())
	for range 5 {
		put(t, s, "public", []byte("x"))
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}
