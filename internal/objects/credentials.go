package objects

import (
	"cmp"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// A chain finds credentials like the tools of AWS: in the environment, in the
// shared files, and from the role of the pod, the container or the instance. If
// there are none, requests are not signed, which is enough for public objects.
type chain struct {
	mu      sync.Mutex
	found   credentials.Provider // nil: none
	value   credentials.Value
	looked  bool
	outcome string // for messages: the place that had them, or the places without
}

func newChain() *chain { return &chain{} }

// A place is one that may have credentials.
type place struct {
	name     string
	provider credentials.Provider
}

// places returns the places to look at.
func places() []place {
	list := []place{
		{"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", &credentials.EnvAWS{}},
		{sharedFiles(), &credentials.FileAWSCredentials{}},
	}
	iam := &credentials.IAM{Client: metadataClient()}
	switch {
	case os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE") != "":
		return append(list, place{"AWS_WEB_IDENTITY_TOKEN_FILE", iam})
	case os.Getenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") != "":
		return append(list, place{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", iam})
	case os.Getenv("AWS_CONTAINER_CREDENTIALS_FULL_URI") != "":
		return append(list, place{"AWS_CONTAINER_CREDENTIALS_FULL_URI", iam})
	case strings.EqualFold(os.Getenv("AWS_EC2_METADATA_DISABLED"), "true"):
		return list
	}
	iam.Endpoint = os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT")
	return append(list, place{"instance metadata", iam})
}

// sharedFiles names the shared files and the profile.
func sharedFiles() string {
	home, _ := os.UserHomeDir()
	file := func(variable, name string) string {
		return cmp.Or(os.Getenv(variable), filepath.Join(home, ".aws", name))
	}
	return "profile " + cmp.Or(os.Getenv("AWS_PROFILE"), "default") + " of " +
		file("AWS_SHARED_CREDENTIALS_FILE", "credentials") + " and " + file("AWS_CONFIG_FILE", "config")
}

// metadataClient returns a client for roles. Where there are none, the address of
// the instance metadata often does not answer.
func metadataClient() *http.Client {
	return &http.Client{
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: time.Second}).DialContext,
			DisableKeepAlives: true,
			Proxy: func(r *http.Request) (*url.URL, error) {
				if ip, err := netip.ParseAddr(r.URL.Hostname()); err == nil && (ip.IsLinkLocalUnicast() || ip.IsLoopback()) {
					return nil, nil
				}
				return http.ProxyFromEnvironment(r)
			},
		},
	}
}

// RetrieveWithCredContext looks at all places until one has credentials. If none
// has any more, because the metadata service does not answer, earlier ones serve
// until they expire. After that it is an error, which is transient.
func (c *chain) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var tried []string
	for _, p := range places() {
		value, err := p.provider.RetrieveWithCredContext(cc)
		if err == nil && value.AccessKeyID != "" && value.SecretAccessKey != "" {
			c.looked, c.found, c.value = true, p.provider, value
			c.outcome = "the credentials are from " + p.name
			return value, nil
		}
		tried = append(tried, p.name+": "+reason(err))
	}
	outcome := "there are no credentials; tried " + strings.Join(tried, "; ")
	if c.found != nil {
		if time.Now().Before(c.value.Expiration) {
			return c.value, nil
		}
		return credentials.Value{}, errors.New(outcome)
	}
	c.looked, c.outcome = true, outcome
	c.value = credentials.Value{SignerType: credentials.SignatureAnonymous}
	return c.value, nil
}

// Retrieve implements credentials.Provider.
func (c *chain) Retrieve() (credentials.Value, error) { return c.RetrieveWithCredContext(nil) }

// IsExpired reports whether to look again. A chain that has found nothing is not
// expired: each request would wait for the instance metadata.
func (c *chain) IsExpired() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.looked || c.found != nil && c.found.IsExpired()
}

// describe tells where the credentials are from.
func (c *chain) describe() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outcome
}

// redact removes the secrets from an answer of a server.
func (c *chain) redact(text string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, secret := range []string{c.value.SecretAccessKey, c.value.SessionToken} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "REDACTED")
		}
	}
	return text
}

// reason describes why a place has no credentials. Texts of most errors are left
// out, because they may quote a file or a URL with a token.
func reason(err error) string {
	var (
		path    *fs.PathError
		request *url.Error
	)
	switch {
	case err == nil:
		return "not set"
	case errors.As(err, &path):
		return path.Err.Error()
	case errors.As(err, &request):
		return request.Err.Error()
	}
	return "no usable credentials"
}
