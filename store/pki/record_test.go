package pki_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"takd/store/pki"
)

// A device that enrolls again replaces its certificate; what is expired can be
// forgotten, what is valid cannot.
func TestRecords(t *testing.T) {
	a := newSite(t).open(t)
	ctx := t.Context()
	for range 2 {
		if _, _, err := a.IssueKeyStore(ctx, pki.SignOptions{User: "ann", ClientUID: "phone"}, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.IssueClient(ctx, "ann", pki.IssueOptions{ECDSA: true, Validity: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	all, err := a.Records(ctx, "ann")
	if err != nil || len(all) != 3 {
		t.Fatalf("Records = %d, %v; want 3", len(all), err)
	}
	replaced := 0
	for _, r := range all {
		if r.ID <= 0 || r.ID >= 1<<53 || r.PEM() == "" || len(r.Hash()) != 95 {
			t.Errorf("record %+v", r)
		}
		if r.Replaced {
			replaced++
		}
		if one, err := a.Record(ctx, r.Hash()); err != nil || one.Serial != r.Serial || one.Replaced != r.Replaced {
			t.Errorf("Record(%s) = %+v, %v", r.Hash(), one, err)
		}
	}
	if replaced != 1 {
		t.Errorf("%d are replaced, want 1", replaced)
	}
	time.Sleep(5 * time.Millisecond)
	n, err := a.Forget(ctx, []string{all[0].Serial, all[1].Serial, all[2].Serial})
	if err != nil || n != 1 {
		t.Errorf("Forget = %d, %v; want 1: only one is expired", n, err)
	}
	if _, err := a.Record(ctx, strings.Repeat("0", 64)); !errors.Is(err, pki.ErrNotFound) {
		t.Errorf("Record of nothing: %v", err)
	}
	if _, err := a.Record(ctx, "xy"); !errors.Is(err, pki.ErrInvalid) {
		t.Errorf("Record of no hash: %v", err)
	}
}
