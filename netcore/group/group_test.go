package group_test

import (
	"fmt"
	"testing"

	"takd/netcore/group"
)

func TestReach(t *testing.T) {
	table := group.NewTable()
	red, blue := table.Set([]string{"red"}), table.Set([]string{"blue"})
	both, none := table.Set([]string{"blue", "red", "red"}), table.Set(nil)
	var many []string
	for i := range 200 { // more than three words
		many = append(many, fmt.Sprint("g", i))
	}
	far := table.Set(many[150:])
	tests := map[string]struct {
		a, b *group.Set
		want bool
	}{
		"same":        {red, red, true},
		"other":       {red, blue, false},
		"one of two":  {both, blue, true},
		"nobody":      {none, none, false},
		"far":         {far, table.Set(many), true},
		"far and red": {far, red, false},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tc.a.Bits.Intersects(tc.b.Bits); got != tc.want || tc.b.Bits.Intersects(tc.a.Bits) != tc.want {
				t.Errorf("Intersects = %v, want %v", got, tc.want)
			}
		})
	}
	if both.Key() != table.Set([]string{"red", "blue"}).Key() || both.Key() == red.Key() {
		t.Error("equal sets have equal keys, others do not")
	}
	if table.One([]byte("stranger")) != nil {
		t.Error("a client's word made a group")
	}
	if got, some := group.AppendAnd(nil, both.Bits, red.Bits); !some || !got.Intersects(red.Bits) || got.Intersects(blue.Bits) {
		t.Errorf("AppendAnd = %v, %v", got, some)
	}
}
