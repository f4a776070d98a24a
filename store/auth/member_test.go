package auth_test

import (
	"errors"
	"slices"
	"testing"

	"takd/store/auth"
)

// Into a group and out of it, whatever the others are.
func TestSetMember(t *testing.T) {
	b := open(t)
	b.add(t, auth.NewUser{Name: "ann", In: []string{"Blue", "Red"}, Out: []string{"Green"}})
	b.add(t, auth.NewUser{Name: "ben"})
	for _, step := range []struct {
		user, group string
		is          bool
		in, out     []string
	}{
		{"ann", "New", true, []string{"Blue", "New", "Red"}, []string{"Green", "New"}},
		{"ann", "New", true, []string{"Blue", "New", "Red"}, []string{"Green", "New"}},
		{"ann", "Red", false, []string{"Blue", "New"}, []string{"Green", "New"}},
		{"ann", "Green", true, []string{"Blue", "Green", "New"}, []string{"Green", "New"}},
		{"ben", "Blue", true, []string{"Blue"}, []string{"Blue"}},
		{"ben", "None", false, []string{"Blue"}, []string{"Blue"}},
		{"ben", "Blue", false, []string{auth.Anonymous}, []string{auth.Anonymous}},
	} {
		if err := b.SetMember(t.Context(), step.user, step.group, step.is); err != nil {
			t.Fatalf("%+v: %v", step, err)
		}
		u, err := b.User(t.Context(), step.user)
		if err != nil || !slices.Equal(u.In, step.in) || !slices.Equal(u.Out, step.out) {
			t.Errorf("%+v: %+v, %v", step, u, err)
		}
	}
	for _, bad := range []struct {
		user, group string
		want        error
	}{{"nobody", "Blue", auth.ErrNotFound}, {"ann", auth.Anonymous, auth.ErrInvalid}, {"ann", "../x", auth.ErrInvalid}, {"", "Blue", auth.ErrInvalid}} {
		if err := b.SetMember(t.Context(), bad.user, bad.group, true); !errors.Is(err, bad.want) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
