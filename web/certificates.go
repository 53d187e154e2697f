package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"sync/atomic"
	"time"

	"promostore/internal/fsx"
)

// CertificateOptions selects the certificate of a server: a pair of files, or
// one generated at the start. The zero value selects none.
type CertificateOptions struct {
	CertFile   string // certificate and chain, PEM
	KeyFile    string // private key, PEM
	SelfSigned bool   // generate a certificate; excludes CertFile and KeyFile
	ClientCA   string // file with the CA certificates that verify clients, PEM; optional
}

// Enabled reports whether o selects a certificate.
func (o CertificateOptions) Enabled() bool { return o.CertFile != "" || o.SelfSigned }

// Certificates holds the certificate of a server, which can be replaced while
// the server runs. It is safe for concurrent use.
type Certificates struct {
	opts    CertificateOptions
	clients *x509.CertPool // nil: clients present no certificate
	current atomic.Pointer[tls.Certificate]
}

// OpenCertificates loads or generates the certificate that opts selects.
func OpenCertificates(opts CertificateOptions) (*Certificates, error) {
	c := &Certificates{opts: opts}
	if opts.ClientCA != "" {
		text, err := readRegular(opts.ClientCA)
		if err != nil {
			return nil, fmt.Errorf("client CA: %w", err)
		}
		c.clients = x509.NewCertPool()
		if !c.clients.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("client CA %s: no certificate", opts.ClientCA)
		}
	}
	load := c.load
	if opts.SelfSigned {
		load = selfSigned
	}
	pair, err := load()
	if err != nil {
		return nil, err
	}
	c.current.Store(pair)
	return c, nil
}

// SelfSigned returns a generated certificate.
func SelfSigned() (*Certificates, error) {
	return OpenCertificates(CertificateOptions{SelfSigned: true})
}

// selfSigned generates a certificate for this host that is valid for a year.
// It is never written to a file.
func selfSigned() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    now.Add(-time.Hour), // the clock of a client may be late
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if host, err := os.Hostname(); err == nil {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("self-signed certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// load reads the certificate and its key from the files.
func (c *Certificates) load() (*tls.Certificate, error) {
	cert, err := readRegular(c.opts.CertFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.opts.CertFile, err)
	}
	key, err := readRegular(c.opts.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.opts.CertFile, err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", c.opts.CertFile, err)
	}
	return &pair, nil
}

// readRegular reads a regular file. A pipe would hold the server until someone
// writes to it.
func readRegular(path string) ([]byte, error) {
	f, err := fsx.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// Reload reads the files again, for new connections, and logs the result. On
// an error the certificate remains as it is. A generated one always remains.
func (c *Certificates) Reload(log *slog.Logger) error {
	if !c.opts.SelfSigned {
		pair, err := c.load()
		if err != nil {
			log.Error("certificate refused, the old one remains", "error", err)
			return err
		}
		c.current.Store(pair)
	}
	log.Info("certificate loaded", "expires", c.NotAfter())
	c.WarnOfExpiry(log)
	return nil
}

// expirySoon is how long before its expiry a certificate is warned of.
const expirySoon = 7 * 24 * time.Hour

// WarnOfExpiry logs a warning if the certificate has expired or will within a
// week.
func (c *Certificates) WarnOfExpiry(log *slog.Logger) {
	switch expires := c.NotAfter(); {
	case time.Now().After(expires):
		log.Warn("certificate has expired", "expires", expires)
	case time.Until(expires) < expirySoon:
		log.Warn("certificate expires soon", "expires", expires)
	}
}

// NotAfter returns the time at which the certificate expires.
func (c *Certificates) NotAfter() time.Time { return c.current.Load().Leaf.NotAfter }

// suites12 are the cipher suites of TLS 1.2: authenticated encryption with
// forward secrecy, and none in CBC mode. Those of TLS 1.3 are fixed.
var suites12 = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// Config returns the configuration of a TLS listener that presents the current
// certificate and speaks HTTP/1.1. With a ClientCA it verifies a certificate
// that a client presents, but does not demand one.
func (c *Certificates) Config() *tls.Config {
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		CipherSuites: suites12,
		NextProtos:   []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return c.current.Load(), nil
		},
	}
	if c.clients != nil {
		config.ClientCAs = c.clients
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return config
}
