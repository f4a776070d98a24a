package pki

import (
	"context"
	"fmt"
	"strconv"

	"software.sslmate.com/src/go-pkcs12"
)

// P12 is the certificate and its authorities as PKCS#12 without a key, as the
// first form of enrollment gives them. ATAK looks for the alias signedCert and
// stays broken where it is missing; it tries DefaultPassword.
func (s *Signed) P12() ([]byte, error) {
	entries := make([]pkcs12.TrustStoreEntry, 0, 1+len(s.CAs))
	entries = append(entries, pkcs12.TrustStoreEntry{Cert: s.Leaf, FriendlyName: "signedCert"})
	for i, ca := range s.CAs {
		entries = append(entries, pkcs12.TrustStoreEntry{Cert: ca, FriendlyName: "ca" + strconv.Itoa(i)})
	}
	der, err := pkcs12.LegacyDES.EncodeTrustStoreEntries(entries, DefaultPassword)
	if err != nil {
		return nil, fmt.Errorf("encode certificate of %s: %w", s.Name, err)
	}
	return der, nil
}

// IssueKeyStore makes key and certificate of a device, for clients that cannot
// make a request, as PKCS#12 with the authorities.
func (a *Authority) IssueKeyStore(ctx context.Context, o SignOptions, password string) (*Issued, []byte, error) {
	if !CleanClientUID(o.ClientUID) {
		return nil, nil, fmt.Errorf("%w: clientUid: want at most %d characters of text", ErrInvalid, maxClientUID)
	}
	if o.Validity == 0 {
		o.Validity = EnrollLife
	}
	issued, err := a.IssueClient(ctx, o.User, IssueOptions{Validity: o.Validity, clientUID: o.ClientUID, address: o.Address})
	if err != nil {
		return nil, nil, err
	}
	if password == "" {
		password = DefaultPassword
	}
	der, err := pkcs12.LegacyDES.Encode(issued.Key, issued.Leaf, a.CAs(), password)
	if err != nil {
		return nil, nil, fmt.Errorf("encode certificate of %s: %w", issued.Name, err)
	}
	return issued, der, nil
}
