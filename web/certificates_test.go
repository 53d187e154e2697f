package web_test

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"promostore/internal/fsx"
	"promostore/web"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSelfSignedCertificateLastsAYear(t *testing.T) {
	c, err := web.SelfSigned()
	must(t, err)
	if left := time.Until(c.NotAfter()); left < 364*24*time.Hour || left > 367*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
	before := c.NotAfter()
	var log bytes.Buffer
	must(t, c.Reload(slog.New(slog.NewTextHandler(&log, nil))))
	if !c.NotAfter().Equal(before) || !strings.Contains(log.String(), "certificate loaded") {
		t.Errorf("after a reload: expires %v, want %v; log:\n%s", c.NotAfter(), before, &log)
	}
}

func TestCertificateOptionsEnabled(t *testing.T) {
	for opts, want := range map[web.CertificateOptions]bool{
		{}:                                false,
		{ClientCA: "ca.pem"}:              false,
		{SelfSigned: true}:                true,
		{CertFile: "c.pem", KeyFile: "k"}: true,
	} {
		if got := opts.Enabled(); got != want {
			t.Errorf("%+v: %v, want %v", opts, got, want)
		}
	}
}

func TestClientCARequestsCertificates(t *testing.T) {
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	opts := web.CertificateOptions{SelfSigned: true, ClientCA: ca}
	if _, err := web.OpenCertificates(opts); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	must(t, os.WriteFile(ca, []byte("none"), 0o600))
	if _, err := web.OpenCertificates(opts); err == nil || err.Error() != "client CA "+ca+": no certificate" {
		t.Errorf("a file without a certificate: %v", err)
	}
	signer, err := web.SelfSigned()
	must(t, err)
	pair, err := signer.Config().GetCertificate(nil)
	must(t, err)
	must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}), 0o600))
	c, err := web.OpenCertificates(opts)
	must(t, err)
	if config := c.Config(); config.ClientCAs == nil || config.ClientAuth != tls.VerifyClientCertIfGiven {
		t.Errorf("ClientAuth is %v", config.ClientAuth)
	}
	if config := signer.Config(); config.ClientAuth != tls.NoClientCert {
		t.Errorf("without a ClientCA, ClientAuth is %v", config.ClientAuth)
	}
}

// A pipe without a writer does not hold the start or a reload.
func TestCertificateFilesMustBeRegular(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o600))
	for _, opts := range []web.CertificateOptions{{CertFile: pipe, KeyFile: pipe}, {SelfSigned: true, ClientCA: pipe}} {
		if _, err := web.OpenCertificates(opts); !errors.Is(err, fsx.ErrNotRegular) {
			t.Errorf("%+v: %v, want %v", opts, err, fsx.ErrNotRegular)
		}
	}
}

// TestConfigOffersNoCBC dials with each cipher suite of TLS 1.2 alone. Only
// authenticated encryption with forward secrecy is accepted.
func TestConfigOffersNoCBC(t *testing.T) {
	c, err := web.SelfSigned()
	must(t, err)
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) || !strings.Contains(suite.Name, "ECDSA") {
			continue // TLS 1.3, or for a certificate with an RSA key
		}
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			_ = tls.Server(server, c.Config()).Handshake()
		}()
		err := tls.Client(client, &tls.Config{
			InsecureSkipVerify: true,
			MaxVersion:         tls.VersionTLS12,
			CipherSuites:       []uint16{suite.ID},
		}).Handshake()
		client.Close()
		accepted := strings.Contains(suite.Name, "_GCM_") || strings.Contains(suite.Name, "_CHACHA20_")
		if (err == nil) != accepted {
			t.Errorf("%s: %v", suite.Name, err)
		}
	}
	for _, id := range c.Config().CipherSuites {
		if name := tls.CipherSuiteName(id); strings.Contains(name, "_CBC_") || !strings.Contains(name, "_ECDHE_") {
			t.Errorf("%s is offered", name)
		}
	}
}
