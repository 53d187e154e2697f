package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestSIGHUPReloadsGenerationAndCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, 1)
	s := newServer(t)
	s.build(t, "1.00")
	s.start(t, "--tls-cert", certFile, "--tls-key", keyFile, "--poll", "1h")
	s.await(t, "generation live") // the next poll is an hour away
	s.build(t, "9.68")
	writeCertificate(t, certFile, keyFile, 2)
	if n := s.serial(t); n != 1 {
		t.Errorf("certificate %d before the signal", n)
	}
	s.signals <- syscall.SIGHUP
	s.await(t, "certificate loaded")
	if n := s.serial(t); n != 2 {
		t.Errorf("certificate %d after the signal", n)
	}
	s.await(t, "generation live")
	s.want(t, "https", "/promotions/"+exampleID, 200, fmt.Sprintf(exampleJSON, "9.68"))

	must(t, os.WriteFile(certFile, []byte("no certificate"), 0o600))
	s.signals <- syscall.SIGHUP
	s.await(t, "certificate refused, the old one remains")
	if n := s.serial(t); n != 2 {
		t.Errorf("certificate %d after a broken one", n)
	}
}

func (s *server) serial(t *testing.T) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", s.address, &tls.Config{InsecureSkipVerify: true})
	must(t, err)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}
