package cli

import (
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// visible shows what would move the cursor, change colours or turn the
// direction of a terminal as an escape sequence of Go: texts of clients, such
// as callsigns, hold what they like.
func visible(s string) string { return show(s, "") }

// lines is visible for text that has lines.
func lines(s string) string { return show(s, "\n\t") }

func show(s, keep string) string {
	bad := func(r rune) bool { return !unicode.IsPrint(r) && !strings.ContainsRune(keep, r) }
	if utf8.ValidString(s) && !strings.ContainsFunc(s, bad) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		_, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			quoted := strconv.Quote(s[i : i+1])
			b.WriteString(quoted[1 : len(quoted)-1])
		case bad(r):
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// visibleWriter passes text on with its control bytes shown, for files that may
// be cut anywhere.
type visibleWriter struct{ w io.Writer }

func (v visibleWriter) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, c := range p {
		if (c < ' ' && c != '\n' && c != '\t') || c == 0x7f {
			quoted := strconv.QuoteRune(rune(c))
			b.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		b.WriteByte(c)
	}
	if _, err := io.WriteString(v.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
