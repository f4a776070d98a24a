package pki

import (
	"context"
	"fmt"
	"time"
)

// renewBefore is how long before its end the server certificate is renewed.
const renewBefore = 30 * 24 * time.Hour

// RenewIfDue renews the certificate that this server presents, with its names,
// when less than 30 days of it remain at the time now, or when it is valid for
// longer than clients accept by today's rules. It tells whether it did. A
// certificate that comes from elsewhere cannot be renewed here: that is an error
// once it is due.
func (a *Authority) RenewIfDue(ctx context.Context, now time.Time) (bool, error) {
	leaf := a.ServerCertificate().Leaf
	issuer := leaf.CheckSignatureFrom(a.ca)
	switch {
	case now.Add(renewBefore).Before(leaf.NotAfter) && (issuer != nil || leaf.NotAfter.Sub(leaf.NotBefore) <= ServerLife):
		return false, nil
	case issuer != nil:
		return false, fmt.Errorf("%w: the server certificate ends on %s and was not issued here: replace it", ErrInvalid, leaf.NotAfter.Format(time.DateOnly))
	case !leaf.NotAfter.Before(a.ca.NotAfter) && leaf.NotAfter.Sub(leaf.NotBefore) <= ServerLife:
		return false, fmt.Errorf("%w: the server certificate and its authority end on %s", ErrInvalid, leaf.NotAfter.Format(time.DateOnly))
	}
	return true, a.RenewServer(ctx, nil)
}
