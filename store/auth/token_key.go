package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	tokenKeyBits = 2048
	tokenKeyType = "PRIVATE KEY"
)

// readTokenKey returns nil where there is no file.
func readTokenKey(file string) (*rsa.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read token key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != tokenKeyType {
		return nil, fmt.Errorf("token key %s: %w: want a PEM block %q", file, ErrInvalid, tokenKeyType)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("token key %s: %w", file, err)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok || key.N.BitLen() < tokenKeyBits {
		return nil, fmt.Errorf("token key %s: %w: want RSA of %d bits or more", file, ErrInvalid, tokenKeyBits)
	}
	return key, nil
}

// makeTokenKey writes a new key for the owner only, whole or not at all.
func makeTokenKey(file string) (key *rsa.PrivateKey, err error) {
	if key, err = rsa.GenerateKey(rand.Reader, tokenKeyBits); err != nil {
		return nil, fmt.Errorf("make token key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make token key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // made 0600
	if err != nil {
		return nil, fmt.Errorf("write token key: %w", err)
	}
	err = pem.Encode(f, &pem.Block{Type: tokenKeyType, Bytes: der})
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write token key: %w", err), os.Remove(f.Name()))
	}
	return key, nil
}
