package pki_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"takd/store/pki"
)

// Java reads what phones get, as they do: a truststore is one only if its entries are
// marked as trusted, and a key store has its key under an alias.
func TestKeytool(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	issued := s.issue(t, "ann", pki.IssueOptions{})
	if err := issued.WriteFiles(dir, ""); err != nil {
		t.Fatal(err)
	}
	signed := s.sign(t, opensslCSR(t, "-newkey", "rsa:2048", "-subj", "/CN=ann"), pki.SignOptions{User: "ann"})
	der, err := signed.P12()
	if err != nil {
		t.Fatal(err)
	}
	_, store, err := s.IssueKeyStore(t.Context(), pki.SignOptions{User: "ann", ClientUID: "uid-7"}, pki.DefaultPassword)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"signed.p12": der, "store.p12": store} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]string{
		"truststore.p12": {"trustedCertEntry"},
		"ann.p12":        {"PrivateKeyEntry", "Certificate chain length"},
		"signed.p12":     {"signedcert", "ca0", "trustedCertEntry"},
		"store.p12":      {"PrivateKeyEntry"},
	} {
		out, err := exec.CommandContext(t.Context(), "keytool", "-list", "-v", "-storetype", "PKCS12", "-keystore", filepath.Join(dir, name), "-storepass", pki.DefaultPassword).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%.600s", name, err, out)
			continue
		}
		for _, w := range want {
			if !strings.Contains(string(out), w) {
				t.Errorf("%s: keytool shows no %q:\n%.800s", name, w, out)
			}
		}
	}
}
