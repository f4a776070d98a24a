package session

import "slices"

// Outbox is how one receiver's stream differs from the batch that it shares
// with others: stretches that it must not get (its own events), and bytes that
// only it gets (direct messages), each at its place, so that the order in which
// events were published is the order in which they are sent.
type Outbox struct {
	Slot  int  // index in its bucket's members
	Dirty bool // the loop has it on its list of sessions to flush

	start int    // the stream begins here in the batch: earlier bytes are not for it
	extra []byte // own bytes, in order
	edits []edit // in order of position
	delta int    // events more or less than the batch holds
}

// edit skips batch[at:at+skip] and sends n own bytes at that place.
type edit struct{ at, skip, n int }

// keepExtra is the most memory that an idle receiver keeps for direct messages.
const keepExtra = 4 << 10

// Reset begins anew at position start of a batch that holds that many events.
func (o *Outbox) Reset(start, events int) {
	o.start, o.delta = start, -events
	o.edits = o.edits[:0]
	if cap(o.extra) > keepExtra {
		o.extra = nil
	}
	o.extra = o.extra[:0]
}

// Skip leaves out the event batch[from:to]. Calls come in order.
func (o *Outbox) Skip(from, to int) {
	o.delta--
	if k := len(o.edits) - 1; k >= 0 && o.edits[k].n == 0 && o.edits[k].at+o.edits[k].skip == from {
		o.edits[k].skip += to - from
		return
	}
	o.edits = append(o.edits, edit{at: from, skip: to - from})
}

// Insert adds the event b, which is copied, at position at of the batch. Calls come in order.
func (o *Outbox) Insert(at int, b []byte) {
	o.delta++
	o.extra = append(o.extra, b...)
	if k := len(o.edits) - 1; k >= 0 && o.edits[k].skip == 0 && o.edits[k].at == at {
		o.edits[k].n += len(b)
		return
	}
	o.edits = append(o.edits, edit{at: at, n: len(b)})
}

// Len is the number of own bytes that wait.
func (o *Outbox) Len() int { return len(o.extra) }

// Delta is how many events more (or, negative, fewer) than the batch the stream has.
func (o *Outbox) Delta() int { return o.delta }

// Compose returns the receiver's stream for batch: batch itself or a part of
// it where nothing is different, else scratch, which it grows.
func (o *Outbox) Compose(batch, scratch []byte) (stream, grown []byte) {
	pos := min(o.start, len(batch))
	if len(o.edits) == 0 {
		return batch[pos:], scratch
	}
	scratch = slices.Grow(scratch[:0], len(batch)-pos+len(o.extra))
	extra := o.extra
	for _, e := range o.edits {
		if e.at > pos {
			scratch = append(scratch, batch[pos:e.at]...)
			pos = e.at
		}
		scratch = append(scratch, extra[:e.n]...)
		extra = extra[e.n:]
		pos = max(pos, e.at+e.skip)
	}
	scratch = append(scratch, batch[pos:]...)
	return scratch, scratch
}
