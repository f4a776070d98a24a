package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestTail(t *testing.T) {
	tests := map[string]struct {
		in   string
		n    int
		want string
	}{
		"none":       {in: "a\nb\n", n: 0},
		"some":       {in: "a\nb\nc\n", n: 2, want: "b\nc\n"},
		"all":        {in: "a\nb\n", n: 9, want: "a\nb\n"},
		"unfinished": {in: "a\nb", n: 1, want: "b"},
		"empty":      {n: 3},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := strings.NewReader(tc.in)
			got, err := tail(r, tc.n)
			if string(got) != tc.want || err != nil || r.Len() != 0 {
				t.Errorf("tail(%q, %d) = %q, %v, %d bytes left; want %q at the end", tc.in, tc.n, got, err, r.Len(), tc.want)
			}
		})
	}
}

// A terminal gets no control characters of others; JSON is as it was.
func TestNothingSteersTheTerminal(t *testing.T) {
	tests := map[string]struct{ in, want string }{
		"plain":     {in: "ALPHA 1 – Jürgen 漢字 😀 \\ \"x\" \ufffd"},
		"colour":    {in: "a\x1b[31mb", want: `a\x1b[31mb`},
		"bell":      {in: "\a\b\x00\x7f", want: `\a\b\x00\x7f`},
		"lines":     {in: "a\nb\tc\r", want: `a\nb\tc\r`},
		"C1":        {in: "\u009b2J", want: `\u009b2J`},
		"direction": {in: "a\u202eb\u200b", want: `a\u202eb\u200b`},
		"not UTF-8": {in: "a\xff\x9bb", want: `a\xff\x9bb`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if tc.want == "" {
				tc.want = tc.in
			}
			var out bytes.Buffer
			a := &app{IO: IO{Out: &out}}
			if err := a.table(nil, "HEAD", [][]string{{tc.in}}); err != nil || out.String() != "HEAD\n"+tc.want+"\n" {
				t.Errorf("table: %q, %v; want %q", out.String(), err, tc.want)
			}
			out.Reset()
			if err := a.say(nil, "%s\n", tc.in); err != nil || out.String() != tc.want+"\n" {
				t.Errorf("say: %q, %v; want %q", out.String(), err, tc.want)
			}
			out.Reset()
			fail(IO{Err: &out}, errors.New("x"+strings.ReplaceAll(tc.in, "\n", "; ")+"."))
			if want := "takd: x" + strings.ReplaceAll(tc.want, `\n`, "; ") + ".\n"; out.String() != want {
				t.Errorf("fail: %q, want %q", out.String(), want)
			}
			a.json = true
			out.Reset()
			var back []string
			if err := a.table([]string{tc.in}, "HEAD", nil); err != nil || json.Unmarshal(out.Bytes(), &back) != nil || back[0] != strings.ToValidUTF8(tc.in, "\ufffd\ufffd") {
				t.Errorf("JSON: %q, %v", out.String(), err)
			}
		})
	}
	var out bytes.Buffer
	if _, err := (visibleWriter{&out}).Write([]byte("a\x1b[2J\n\tü")); err != nil || out.String() != `a\x1b[2J`+"\n\tü" {
		t.Errorf("visibleWriter: %q, %v", out.String(), err)
	}
}

// safe is a writer for a command that runs beside the test.
type safe struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safe) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safe) has(text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(s.b.String(), text)
}

// Following goes on in the next file when the log is rotated, and misses nothing.
func TestLogsFollowOverRotation(t *testing.T) {
	data := t.TempDir()
	name := filepath.Join(data, "log", "takd.log")
	write := func(text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs safe
	await := func(text string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); !out.has(text); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("logs -f does not print %q", text)
			}
		}
	}
	write("one\n")
	ctx, cancel := context.WithCancel(t.Context())
	code := make(chan int, 1)
	go func() { code <- Main(ctx, []string{"logs", "-f", "--data", data}, IO{Out: &out, Err: &errs}) }()
	await("one\n")
	write("two\n")
	await("two\n")
	write("three\n")
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	write("four\n")
	await("one\ntwo\nthree\nfour\n")
	cancel()
	if got := <-code; got != exitOK {
		t.Errorf("exit code %d: %s", got, errs.b.String())
	}
}

func TestComplete(t *testing.T) {
	tests := map[string]struct {
		line string
		want []string
	}{
		"command":         {line: "takd st", want: []string{"status"}},
		"sub-commands":    {line: "takd group ", want: []string{"add", "list", "remove"}},
		"flags":           {line: "takd kick --r", want: []string{"--reason"}},
		"choices":         {line: "takd completion ", want: []string{"bash", "fish", "zsh"}},
		"after a flag":    {line: "takd --json user re", want: []string{"remove"}},
		"names are files": {line: "takd user remove "},
		"nothing":         {line: "takd nosuch"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, complete(tc.line, nil), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("complete(%q) (-want +got):\n%s", tc.line, diff)
			}
		})
	}
}

func TestGroupText(t *testing.T) {
	tests := map[string]struct {
		in, out []string
		want    string
	}{
		"none": {want: "-"},
		"both": {in: []string{"B", "A"}, out: []string{"A", "B"}, want: "A,B"},
		"one way": {
			in: []string{"A", "B"}, out: []string{"B", "C"}, want: "in:A,B,out:C",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := groupText(tc.in, tc.out); got != tc.want {
				t.Errorf("groupText(%q, %q) = %q, want %q", tc.in, tc.out, got, tc.want)
			}
		})
	}
}
