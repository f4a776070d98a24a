package netcore

import (
	"takd/cot"
	"takd/netcore/msg"
)

// SetInjections sets what is put into events: by uid of the event or of the client
// that sends it, XML elements for the end of its detail. nil ends that.
func (e *Engine) SetInjections(byUID map[string]string) {
	if len(byUID) == 0 {
		e.injections.Store(nil)
		return
	}
	e.injections.Store(&byUID)
}

// encode fills m from ev, with what is to be put into it. Who sends it is "" for a
// datagram. An event that would become too large, or cannot be read any more,
// stays as it is.
func (l *loop) encode(m *msg.Msg, ev *cot.Event, sender string) error {
	l.splice.Limit = l.e.opts.Load().MaxEvent
	if all := l.e.injections.Load(); all != nil {
		elements := (*all)[string(ev.UID)]
		if sender != "" && sender != string(ev.UID) {
			elements += (*all)[sender]
		}
		var fuller cot.Event
		if elements == "" {
			return m.Encode(ev, &l.splice)
		}
		xml, err := ev.AppendInjected(nil, elements)
		if err == nil && len(xml) <= l.splice.Limit {
			if _, err := cot.Scan(xml, &fuller); err == nil {
				return m.Encode(&fuller, &l.splice)
			}
		}
	}
	return m.Encode(ev, &l.splice)
}
