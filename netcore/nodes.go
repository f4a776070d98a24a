package netcore

import (
	"bytes"

	"takd/cot"
	"takd/netcore/group"
	"takd/netcore/msg"
	"takd/netcore/session"
)

// A gateway (Meshtastic, MQTT, ADS-B) carries many uids over one connection.
// They are its nodes: chat to one goes to its connection, newcomers get them
// while they are fresh, and they leave with it.

// nodes are the latest positions behind one client, by uid.
type nodes map[string]*node

type node struct {
	m        *msg.Msg
	callsign string
	typ      string
	stale    int64 // Unix milliseconds
	bound    bool  // the directory knows it
}

// maxNodes bounds the nodes of one client: what is more is passed on, not kept.
const maxNodes = 16 << 10

// keepNode notes the position m of somebody behind c: a device that others can
// answer, or one that reports by itself. What a person puts on the map is neither.
func (l *loop) keepNode(c *client, ev *cot.Event, m *msg.Msg, sa bool) {
	if !sa && !bytes.HasPrefix(ev.How, []byte("m-")) {
		return
	}
	stale, _ := ev.Stale.UnixMilli()
	n := c.nodes[string(ev.UID)]
	switch {
	case n == nil && len(c.nodes) >= maxNodes:
		return
	case n == nil:
		if c.nodes == nil {
			c.nodes = make(nodes)
			l.show(c)
		}
		n = new(node)
		c.nodes[string(ev.UID)] = n
		l.e.restored.forget(c.User, string(ev.UID))
	default:
		n.m.Superseded.Store(true)
		n.m.Release()
	}
	n.m, n.stale = m.Hold(), stale
	if n.typ != string(ev.Type) {
		n.typ = string(ev.Type)
	}
	if len(ev.Contact.Callsign) > 0 && (!n.bound || n.callsign != string(ev.Contact.Callsign)) {
		l.e.directory.UnbindNode(&c.entry, string(ev.UID), n.callsign)
		n.callsign = string(ev.Contact.Callsign)
		n.bound = l.e.directory.BindNode(&c.entry, string(ev.UID), n.callsign)
	}
}

// visible appends, with a reference each, the fresh positions for receivers with
// these OUT groups.
func (ns nodes) visible(list []*msg.Msg, out group.Bits, now int64) []*msg.Msg {
	for _, n := range ns {
		if n.stale > now && n.m.In.Intersects(out) {
			list = append(list, n.m.Hold())
		}
	}
	return list
}

// pruneNodes forgets, now and then, the nodes of c that are not fresh.
func (l *loop) pruneNodes(c *client) {
	if len(c.nodes) == 0 || (l.now.Unix()+int64(c.ID))%8 != 0 {
		return
	}
	now := l.now.UnixMilli()
	for uid, n := range c.nodes {
		if n.stale <= now {
			l.forgetNode(c, uid, n)
		}
	}
}

func (l *loop) forgetNode(c *client, uid string, n *node) {
	l.e.directory.UnbindNode(&c.entry, uid, n.callsign)
	n.m.Release() // not superseded: who is still owed it gets it, nothing newer comes
	delete(c.nodes, uid)
}

// dropNodes forgets all nodes of c, who is gone, and tells those who saw them.
func (l *loop) dropNodes(c *client) {
	now := l.now.UnixMilli()
	for uid, n := range c.nodes {
		if n.stale > now && !l.e.stopping.Load() {
			l.goodbye(c, uid, n.typ, c.Reach.Load(), nil)
		}
		l.forgetNode(c, uid, n)
	}
	c.nodes = nil
}

// regroupNodes moves the nodes of c with it.
func (l *loop) regroupNodes(c *client, old, reach *session.Reach) {
	for uid, n := range c.nodes {
		l.goodbye(c, uid, n.typ, old, reach)
		if n.m = l.moveSA(c, n.m, reach); n.m == nil {
			l.e.directory.UnbindNode(&c.entry, uid, n.callsign)
			delete(c.nodes, uid)
		}
	}
}
