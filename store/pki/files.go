package pki

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"software.sslmate.com/src/go-pkcs12"
)

const (
	typeCert = "CERTIFICATE"
	typeKey  = "PRIVATE KEY"
)

// DefaultPassword protects PKCS#12 files unless another is given: TAK's custom,
// and what ATAK tries first. The files are as secret as the keys in them.
const DefaultPassword = "atakatak"

func certsPEM(certs ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&b, &pem.Block{Type: typeCert, Bytes: c.Raw}) // a Buffer does not fail
	}
	return b.Bytes()
}

func appendPEM(b, der []byte) []byte {
	return append(b, pem.EncodeToMemory(&pem.Block{Type: typeCert, Bytes: der})...)
}

func keyPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: der}), nil
}

// parseCerts reads one or more certificates; any other block, such as a private key, is refused.
func parseCerts(data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != typeCert {
			return nil, fmt.Errorf("%w: PEM block %q, want only certificates", ErrInvalid, block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%w: no PEM certificate", ErrInvalid)
	}
	return certs, nil
}

func readCert(path string) (*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificate: %w", err)
	}
	certs, err := parseCerts(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return certs[0], nil
}

func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != typeKey {
		return nil, fmt.Errorf("%s: %w: want a PEM block %q", path, ErrInvalid, typeKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s: %w: not a signing key", path, ErrInvalid)
	}
	return signer, nil
}

// readServer reads the server's key and chain, and checks that they belong together.
func readServer(path string) (*tls.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read server certificate: %w", err)
	}
	cert, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil, fmt.Errorf("server certificate %s: %w", path, err)
	}
	return &cert, nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

// WriteFile replaces a file whole and durably: whoever reads it, also while
// others write it, gets an old content or a new one, and a mode is never wider
// than asked for, whatever the old file had. Every file with certificates or
// keys is written here. A link is followed; what is no file, such as a pipe, is
// written as it is.
func WriteFile(path string, data []byte, mode os.FileMode) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return os.WriteFile(path, data, mode)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made 0600
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
	}
	return syncDir(filepath.Dir(path))
}

// WriteFiles writes the files of a certificate, by name, to dir and returns
// their paths. Keys and containers of keys are readable by their owner only.
// dir is made if missing. What stands there already is left as it is.
func WriteFiles(dir string, files map[string][]byte) ([]string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate directory: %w", err)
	}
	paths := make([]string, 0, len(files))
	for _, name := range slices.Sorted(maps.Keys(files)) { // a .key before its .pem
		mode := os.FileMode(0o600)
		if filepath.Ext(name) == ".pem" || name == "truststore.p12" {
			mode = 0o644
		}
		path := filepath.Join(dir, name)
		if !holds(path, files[name], mode) {
			if err := WriteFile(path, files[name], mode); err != nil {
				return nil, err
			}
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// holds tells whether path is a file with that content and mode: many
// certificates in one folder share their authority.
func holds(path string, data []byte, mode os.FileMode) bool {
	info, err := os.Stat(path)
	if err != nil || info.Mode() != mode || info.Size() != int64(len(data)) {
		return false
	}
	have, err := os.ReadFile(path)
	return err == nil && bytes.Equal(have, data)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// truststore is PKCS#12 with 3DES and a SHA-1 MAC: older Androids read nothing newer.
func truststore(password string, certs ...*x509.Certificate) ([]byte, error) {
	if password == "" {
		password = DefaultPassword
	}
	der, err := pkcs12.LegacyDES.EncodeTrustStore(certs, password)
	if err != nil {
		return nil, fmt.Errorf("encode truststore: %w", err)
	}
	return der, nil
}

// join concatenates PEM texts.
func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
