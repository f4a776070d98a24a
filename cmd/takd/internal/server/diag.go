package server

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"takd/cmd/takd/internal/control"
	"takd/http/admin"
	"takd/store"
	"takd/store/pki"
)

// diagnose does what the server does with a client certificate.
func diagnose(ctx context.Context, st *store.Store, text []byte) (admin.Verdict, error) {
	cert, err := firstCert(text)
	if err != nil {
		return admin.Verdict{}, err
	}
	v := admin.Verdict{
		Subject: cert.Subject.String(), Issuer: cert.Issuer.String(), Serial: pki.Serial(cert), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter,
		Key: cert.PublicKeyAlgorithm.String(), Usage: usageText(cert), In: []string{}, Out: []string{},
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: st.PKI.ClientCAs(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err == nil {
		p, found := st.Auth.PrincipalForCertificate(ctx, cert)
		if err = found; err == nil {
			v.User, v.Role, v.In, v.Out = p.User, p.Role, append(v.In, p.In...), append(v.Out, p.Out...)
		}
	}
	if err != nil {
		v.Refused = err.Error()
	}
	return v, nil
}

func (l *local) certCheck(ctx context.Context, q control.PEM) (control.Check, error) {
	v, err := diagnose(ctx, l.store, q.PEM)
	return control.Check{Serial: v.Serial, Usage: v.Usage, Refused: v.Refused, User: v.User, Role: v.Role, In: v.In, Out: v.Out}, err
}

func usageText(c *x509.Certificate) string {
	var words []string
	if c.IsCA {
		words = append(words, "ca")
	}
	if slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		words = append(words, "client")
	}
	if slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		words = append(words, "server")
	}
	return strings.Join(words, ", ")
}
