package blob

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes, written as 400MiB, 10GiB or a plain number.
type Size int64

// Units of Size.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

var units = []struct {
	name string
	size Size
}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}}

// String is the shortest exact form.
func (s Size) String() string {
	for _, u := range units {
		if s != 0 && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// ParseSize reads what String writes; MB, M and the like mean the same units.
func ParseSize(text string) (Size, error) {
	digits := strings.TrimRight(strings.TrimSpace(text), "KMGTkmgtiIbB ")
	unit, scale := strings.ToUpper(strings.TrimSpace(strings.TrimSpace(text)[len(digits):])), Size(1)
	n, err := strconv.ParseInt(digits, 10, 64)
	if unit = strings.TrimSuffix(strings.TrimSuffix(unit, "B"), "I"); unit != "" {
		scale = 0
		for _, u := range units {
			if u.name[:1] == unit {
				scale = u.size
			}
		}
	}
	if err != nil || scale == 0 || n < 0 || n > math.MaxInt64/int64(scale) {
		return 0, fmt.Errorf("%w: size %q: want a number with KiB, MiB, GiB or TiB", ErrOptions, text)
	}
	return Size(n) * scale, nil
}

// MarshalYAML implements yaml.InterfaceMarshaler.
func (s Size) MarshalYAML() (any, error) { return s.String(), nil }

// UnmarshalYAML implements yaml.InterfaceUnmarshaler.
func (s *Size) UnmarshalYAML(into func(any) error) error {
	var text string
	if err := into(&text); err != nil {
		return err
	}
	var err error
	*s, err = ParseSize(text)
	return err
}
