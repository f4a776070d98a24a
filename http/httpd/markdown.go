package httpd

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// preface is what docs/API.md begins with.
const preface = `# API

Generated from the table of routes; the running server has it as ` + "`/api/docs` and `/openapi.json`" + `.

**Who calls.** On 8443 a client certificate, by default nothing else (` + "`api.client_auth`" + `). On 8446 a password (Basic), an access token of
` + "`/oauth/token`" + ` (Bearer), or the cookie of a session, which sends ` + "`X-Requested-With`" + ` where it changes something. On 8444 the certificate of a
federated server (` + "`pki/federates.pem`" + ` in the data directory holds their authorities).

**Answers.** Most are ` + "`{\"version\":\"3\",\"type\":...,\"data\":...,\"nodeId\":...}`" + `, as the official server's; an error is
` + "`{\"status\":\"NOT_FOUND\",\"code\":1,\"message\":\"Not Found: ...\"}`" + `. Routes under ` + "`/api`" + ` are takd's own and have no envelope.

**The stream.** ` + "`/takproto/1`" + ` is a WebSocket. Each binary message holds whole frames: 0xBF, the length as varint, a TakMessage; the server sends one
frame in each. Text ends the connection. Nothing is negotiated: the first message is already protobuf.
`

// Markdown is the table for people who read files: docs/API.md.
func (s *Server) Markdown() []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	byTag := map[string][]*Route{}
	var tags []string
	for i := range s.opts.Routes {
		r := &s.opts.Routes[i]
		if byTag[r.Tag] == nil {
			tags = append(tags, r.Tag)
		}
		byTag[r.Tag] = append(byTag[r.Tag], r)
	}
	slices.Sort(tags)
	for _, tag := range tags {
		fmt.Fprintf(&b, "\n## %s\n\n| Route | Query | For | Ports | |\n|---|---|---|---|---|\n", tag)
		for _, r := range byTag[tag] {
			fmt.Fprintf(&b, "| `%s %s` | %s | %s | %s | %s |\n", r.Method, r.Path, strings.Join(r.Query, ", "), r.Role, strings.Join(r.Faces.ports(), ", "), r.Summary)
		}
	}
	return b.Bytes()
}
