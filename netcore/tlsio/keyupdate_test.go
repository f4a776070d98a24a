package tlsio_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"takd/netcore/tlsio"
)

// sealer is the sending end of a TLS 1.3 client that can change its keys, which
// crypto/tls cannot be asked to.
type sealer struct {
	*testing.T

	hash   func() hash.Hash
	aead   func(key []byte) (cipher.AEAD, error)
	keyLen int
	secret []byte
	seq    uint64
}

func newSealer(t *testing.T, suite uint16, keyLog string) *sealer {
	t.Helper()
	gcm := func(key []byte) (cipher.AEAD, error) {
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(block)
	}
	s := &sealer{T: t, hash: sha256.New, aead: gcm, keyLen: 16}
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256:
	case tls.TLS_AES_256_GCM_SHA384:
		s.hash, s.keyLen = sha512.New384, 32
	case tls.TLS_CHACHA20_POLY1305_SHA256:
		s.aead, s.keyLen = chacha20poly1305.New, 32
	default:
		t.Fatalf("cipher suite %#x", suite)
	}
	for line := range strings.Lines(keyLog) {
		if words := strings.Fields(line); len(words) == 3 && words[0] == "CLIENT_TRAFFIC_SECRET_0" {
			var err error
			if s.secret, err = hex.DecodeString(words[2]); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s.secret == nil {
		t.Fatal("no traffic secret in the key log")
	}
	return s
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1.
func (s *sealer) expand(label string, length int) []byte {
	s.Helper()
	label = "tls13 " + label
	info := binary.BigEndian.AppendUint16(nil, uint16(length))
	info = append(append(append(info, byte(len(label))), label...), 0)
	out, err := hkdf.Expand(s.hash, s.secret, string(info), length)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// record is one sealed record.
func (s *sealer) record(kind byte, content []byte) []byte {
	s.Helper()
	aead, err := s.aead(s.expand("key", s.keyLen))
	if err != nil {
		s.Fatal(err)
	}
	nonce := s.expand("iv", aead.NonceSize())
	for i, b := range binary.BigEndian.AppendUint64(nil, s.seq) {
		nonce[len(nonce)-8+i] ^= b
	}
	s.seq++
	inner := append(bytes.Clone(content), kind)
	head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(inner)+aead.Overhead()))
	return append(head, aead.Seal(nil, nonce, inner, head)...)
}

func (s *sealer) data(text string) []byte { return s.record(23, []byte(text)) }

// keyUpdate asks the peer to change its keys too, and changes one's own.
func (s *sealer) keyUpdate() []byte {
	rec := s.record(22, []byte{24, 0, 0, 1, 1})
	s.secret, s.seq = s.expand("traffic upd", s.hash().Size()), 0
	return rec
}

// A client may ask for new keys at any time, with data right behind, and gets
// answers in order: the server's own change of keys first.
func TestKeyUpdate(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	sock, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	var keyLog bytes.Buffer
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, KeyLogWriter: &keyLog})
	done := make(chan error, 1)
	go func() { done <- client.Handshake() }()
	layer, _, err := tlsio.NewPool(tlsio.Limits{Deadline: 10 * time.Second, Total: 1, PerAddress: 1}).
		Handshake(context.Background(), sock, &tls.Config{Certificates: []tls.Certificate{certificate(t)}})
	if err = errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	_ = sock.SetDeadline(time.Now().Add(20 * time.Second))
	s := newSealer(t, client.ConnectionState().CipherSuite, keyLog.String())

	send := func(want string, segment ...[]byte) {
		t.Helper()
		if _, err := raw.Write(bytes.Join(segment, nil)); err != nil {
			t.Fatal(err)
		}
		var got []byte
		buf := make([]byte, 4096)
		for string(got) != want {
			n, err := sock.Read(buf)
			if err != nil {
				t.Fatalf("read %q of %q: %v", got, want, err)
			}
			layer.Feed(buf[:n])
			got = append(got, drain(t, layer)...)
		}
	}
	answer := func(sealed []byte) {
		t.Helper()
		if _, err := sock.Write(sealed); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want string) {
		t.Helper()
		buf := make([]byte, len(want))
		if _, err := io.ReadFull(client, buf); err != nil || string(buf) != want {
			t.Fatalf("client read %q, %v; want %q", buf, err, want)
		}
	}

	send("ping", s.data("ping"))
	answer(seal(t, layer, "pong"))
	expect("pong")
	// Sealed before anybody asked what is pending.
	send("ping 1", s.keyUpdate(), s.data("ping 1"))
	answer(seal(t, layer, "pong 1"))
	if left := layer.Pending(nil); len(left) > 0 {
		t.Errorf("%d bytes are pending after Seal", len(left))
	}
	answer(seal(t, layer, "more"))
	expect("pong 1more")
	// The other way round, and two changes at once.
	send("ping 2", s.keyUpdate(), s.data("ping "), s.keyUpdate(), s.data("2"))
	answer(layer.Pending(nil))
	answer(seal(t, layer, "pong 2"))
	expect("pong 2")
	// Closed right after.
	send("bye", s.keyUpdate(), s.data("bye"))
	answer(layer.CloseNotify(nil))
	if n, err := client.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("client read %d bytes, %v; want EOF", n, err)
	}
}

func seal(t *testing.T, l tlsio.Layer, text string) []byte {
	t.Helper()
	out, err := l.Seal(nil, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return out
}
