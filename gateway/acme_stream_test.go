package gateway_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"culvert/configs"
	"culvert/gateway"
	"culvert/gateway/admin"
	"culvert/gateway/client"
	"culvert/testdata/pebble"
)

// TestRenewalUnderStreams renews certificates while streams go in and out over RTMPS and RTMPTS: not one frame is lost, and new connections get the new
// certificate.
func TestRenewalUnderStreams(t *testing.T) {
	file, tags := clip(t, 7900)
	withEachClient(t, pebble.Config{Life: 10 * time.Second}, func(t *testing.T, ca *pebble.CA, cfg configs.Config) {
		ca.RenewIn(4 * time.Second) // certmagic asks; autocert renews after two thirds of the life
		g, _ := startACME(t, cfg, ca)
		first := certificate(t, g, ca.Host, in("valid"))
		verified := client.Options{TLS: clientTLS(ca)}
		schemes := []string{"rtmps", "rtmpts"}
		received := make([]bytes.Buffer, len(schemes)*len(schemes))
		var players, publishers sync.WaitGroup
		for i, in := range schemes {
			for j, out := range schemes {
				tg := target(t, url(g, out, "live/"+in))
				players.Go(func() {
					if err := client.PlayFLV(t.Context(), tg, &received[i*len(schemes)+j], verified, nil); err != nil {
						t.Errorf("play %s over %s: %v", in, out, err)
					}
				})
			}
		}
		waitForPlayers(t, g, len(received))
		for _, in := range schemes {
			tg := target(t, url(g, in, "live/"+in))
			publishers.Go(func() {
				if err := client.PublishFLV(t.Context(), bytes.NewReader(file), tg, verified, nil); err != nil {
					t.Errorf("publish over %s: %v", in, err)
				}
			})
		}
		renewed := certificate(t, g, ca.Host, func(c admin.CertificateInfo) bool { return c.NotAfter != nil && c.NotAfter.After(*first.NotAfter) })
		if cert, err := secureDial(t, g, ca.Host, nil); err != nil || cert.NotAfter.Before(*renewed.NotAfter) {
			t.Errorf("a new connection gets %v, %v", cert, err)
		}
		publishers.Wait()
		players.Wait()
		for i := range received {
			compare(t, schemes[i/len(schemes)]+" to "+schemes[i%len(schemes)], &received[i], tags)
		}
	})
}

const filesName = "live.example.com"

// TestFilesReloadUnderStream replaces the certificate files while a stream goes in and out over RTMPS.
func TestFilesReloadUnderStream(t *testing.T) {
	t.Parallel()
	file, tags := clip(t, 2500)
	cfg := config(t)
	dir := t.TempDir()
	cfg.TLS.Mode, cfg.TLS.Cert, cfg.TLS.Key = configs.TLSFiles, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	first := writePair(t, cfg.TLS.Cert, cfg.TLS.Key)
	g, _ := start(t, cfg, gateway.Options{})
	if cert, err := secureDial(t, g, filesName, nil); err != nil || !cert.Equal(first) {
		t.Fatal(cert, err)
	}
	var received bytes.Buffer
	var streams sync.WaitGroup
	tg := target(t, url(g, "rtmps", "live/files"))
	streams.Go(func() {
		if err := client.PlayFLV(t.Context(), tg, &received, insecure, nil); err != nil {
			t.Errorf("play: %v", err)
		}
	})
	waitForPlayers(t, g, 1)
	streams.Go(func() {
		if err := client.PublishFLV(t.Context(), bytes.NewReader(file), tg, insecure, nil); err != nil {
			t.Errorf("publish: %v", err)
		}
	})
	second := writePair(t, cfg.TLS.Cert, cfg.TLS.Key)
	eventually(t, "the new certificate", func() bool {
		cert, err := secureDial(t, g, filesName, nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Equal(second)
	})
	streams.Wait()
	compare(t, "rtmps", &received, tags)
}

// writePair makes a certificate for filesName, signed by itself, in files.
func writePair(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{DNSNames: []string{filesName}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
