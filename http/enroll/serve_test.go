package enroll_test

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/fasthttp/router"
	"github.com/valyala/fasthttp"

	"takd/http/enroll"
	"takd/http/httpd"
	"takd/store/auth"
)

func (s *site) principal(r *fasthttp.RequestCtx) (httpd.Principal, int) {
	conv := func(p auth.Principal, via string, err error) (httpd.Principal, int) {
		role := map[string]httpd.Role{"admin": httpd.Admin, "user": httpd.Writer, "readonly": httpd.User}[p.Role]
		switch {
		case errors.Is(err, auth.ErrDisabled):
			return httpd.Principal{}, 403
		case err != nil:
			return httpd.Principal{}, 401
		}
		return httpd.Principal{User: p.User, Role: role, In: p.In, Out: p.Out, Via: via}, 0
	}
	token := func(t, via string) (httpd.Principal, int) {
		if auth.LooksLikeInvite(t) {
			p, err := s.store.Auth.PrincipalForInvite(r, "", t)
			return conv(p, "invite", err)
		}
		u, err := s.tokens.Verify(r, t)
		if err != nil {
			return httpd.Principal{}, 401
		}
		p, err := s.store.Auth.Principal(r, u)
		return conv(p, via, err)
	}
	h := string(r.Request.Header.Peek("Authorization"))
	switch {
	case strings.HasPrefix(h, "Bearer "):
		return token(h[7:], "token")
	case strings.HasPrefix(h, "Basic "):
		req := &http.Request{Header: http.Header{"Authorization": {h}}}
		u, pw, _ := req.BasicAuth()
		if auth.LooksLikeInvite(pw) {
			p, err := s.store.Auth.PrincipalForInvite(r, u, pw)
			if !errors.Is(err, auth.ErrNotFound) {
				return conv(p, "invite", err)
			}
		}
		p, err := s.store.Auth.PrincipalForPassword(r, u, pw)
		return conv(p, "password", err)
	}
	if c := r.Request.Header.Cookie("access_token"); len(c) > 0 {
		return token(string(c), "session")
	}
	return httpd.Principal{}, 401
}

func (s *site) serve(d enroll.Deps, _ *slog.Logger) {
	rt := router.New()
	rt.RedirectTrailingSlash = false
	for _, route := range enroll.Routes(d) {
		rt.Handle(route.Method, route.Path, func(ctx *fasthttp.RequestCtx) {
			p, status := s.principal(ctx)
			if may := route.Role == httpd.Public || p.Role == httpd.Admin || route.Role == httpd.User || route.Role == httpd.Writer && p.Role == httpd.Writer; status == 0 && !may {
				status = 403
			}
			if status != 0 && route.Role != httpd.Public {
				ctx.SetStatusCode(status)
				return
			}
			if int64(len(ctx.PostBody())) > route.MaxBody {
				ctx.SetStatusCode(413)
				return
			}
			err := route.Handler(&httpd.Request{RequestCtx: ctx, Who: p, Face: httpd.Enroll})
			var e *httpd.Error
			if errors.As(err, &e) {
				ctx.SetStatusCode(e.Status)
				ctx.SetBodyString(e.Message)
			} else if err != nil {
				ctx.SetStatusCode(500)
				ctx.SetBodyString(err.Error())
			}
		})
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*s.store.PKI.ServerCertificate()}})
	if err != nil {
		s.Fatal(err)
	}
	srv := &fasthttp.Server{Handler: rt.Handler, MaxRequestBodySize: 4 << 20}
	go func() { _ = srv.Serve(ln) }()
	s.Cleanup(func() { _ = srv.Shutdown() })
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	s.url = "https://localhost:" + port
}
