package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync/atomic"

	"takd/http/httpd"
)

// federatesFile holds, as PEM, the authorities of servers with which files are
// exchanged. It is another trust than that of clients, and may be missing.
const federatesFile = "federates.pem"

// federates knows the certificates of other servers.
type federates struct {
	path   string
	groups func() []string // in which files are exchanged
	pool   atomic.Pointer[x509.CertPool]
}

func openFederates(path string, groups func() []string) (*federates, error) {
	f := &federates{path: path, groups: groups}
	return f, f.reload()
}

// reload reads the file again. On an error what was read before stays in use.
func (f *federates) reload() error {
	pool := x509.NewCertPool()
	text, err := os.ReadFile(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("authorities of federated servers: %w", err)
	case !pool.AppendCertsFromPEM(text):
		return fmt.Errorf("authorities of federated servers: %s: no PEM certificate", f.path)
	}
	f.pool.Store(pool)
	return nil
}

// Certificate is who calls the port of federated servers. All of them are in the
// groups that the configuration names, by default in none.
func (f *federates) Certificate(_ context.Context, chain []*x509.Certificate) (httpd.Principal, error) {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		Roots: f.pool.Load(), Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return httpd.Principal{}, fmt.Errorf("%w: certificate of a server: %w", httpd.ErrUnknown, err)
	}
	groups := slices.Sorted(slices.Values(f.groups()))
	return httpd.Principal{User: "federate " + chain[0].Subject.CommonName, Role: httpd.Writer, In: groups, Out: groups, Serial: chain[0].SerialNumber.Text(16)}, nil
}
