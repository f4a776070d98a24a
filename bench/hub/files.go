package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/valyala/fasthttp"
)

// serveFiles is the yardstick for large files: it copies the body of a POST to a
// file and sends that to who GETs, whatever the path. It checks nothing, counts
// nothing, and syncs nothing.
func serveFiles(ctx context.Context, l net.Listener, config *tls.Config, dir string) error {
	file := filepath.Join(dir, "file")
	s := &fasthttp.Server{
		StreamRequestBody: true, MaxRequestBodySize: 1 << 40, NoDefaultServerHeader: true,
		Handler: func(r *fasthttp.RequestCtx) {
			if r.IsPost() {
				if err := keep(file, r.RequestBodyStream()); err != nil {
					r.Error(err.Error(), fasthttp.StatusInternalServerError)
				}
				return
			}
			r.SendFile(file)
		},
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	defer context.AfterFunc(ctx, func() { _ = l.Close() })()
	if err := s.Serve(tls.NewListener(l, config)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("files: %w", err)
	}
	return nil
}

func keep(name string, body io.Reader) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, body)
	return errors.Join(err, f.Close())
}
