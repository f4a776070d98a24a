package netcore

import (
	"context"
	"net/netip"
)

type peerKey struct{}

// WithPeer returns a context that says from which address somebody asks.
func WithPeer(ctx context.Context, addr netip.Addr) context.Context {
	return context.WithValue(ctx, peerKey{}, addr)
}

// Peer returns the address that ctx was given; the zero Addr if none was.
func Peer(ctx context.Context) netip.Addr {
	addr, _ := ctx.Value(peerKey{}).(netip.Addr)
	return addr
}
