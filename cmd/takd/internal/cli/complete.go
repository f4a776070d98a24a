package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completeWord is the hidden command that shells call for candidates.
const completeWord = "__complete"

type completionCmd struct {
	Shell string `arg:"" help:"bash, zsh or fish." enum:"bash,zsh,fish"`
}

// Run prints a script to be sourced.
func (c *completionCmd) Run(a *app) error {
	_, err := fmt.Fprintln(a.Out, map[string]string{
		"bash": "complete -o default -C 'takd " + completeWord + "' takd",
		"zsh":  "autoload -U +X bashcompinit && bashcompinit\ncomplete -o default -C 'takd " + completeWord + "' takd",
		"fish": "complete -c takd -a '(COMP_LINE=(commandline -cp) takd " + completeWord + ")'",
	}[c.Shell])
	return err
}

// complete returns the words that may stand where line ends. Bash passes the
// command, the unfinished word and the one before it, too.
func complete(line string, _ []string) []string {
	words := strings.Fields(line)
	if len(words) > 0 {
		words = words[1:]
	}
	last := ""
	if len(words) > 0 && !strings.HasSuffix(line, " ") {
		last, words = words[len(words)-1], words[:len(words)-1]
	}
	parser, err := newParser(&root{}, IO{Out: io.Discard, Err: io.Discard})
	if err != nil {
		return nil
	}
	node := parser.Model.Node
	for _, w := range words {
		if i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == w }); i >= 0 {
			node = node.Children[i]
		}
	}
	var found []string
	for _, n := range node.Children {
		found = append(found, n.Name)
	}
	if strings.HasPrefix(last, "-") {
		found = nil
		for _, flags := range node.AllFlags(true) {
			for _, f := range flags {
				found = append(found, "--"+f.Name)
			}
		}
	}
	if node.Children == nil && len(node.Positional) > 0 && node.Positional[0].Enum != "" && len(found) == 0 {
		found = strings.Split(node.Positional[0].Enum, ",")
	}
	found = slices.DeleteFunc(found, func(s string) bool { return !strings.HasPrefix(s, last) })
	slices.Sort(found)
	return found
}
