package netcore

import (
	"fmt"
	"io"
	"sync/atomic"

	"takd/netcore/session"
)

// loopStats counts one loop's work. One goroutine writes, so the counters are
// never contended.
type loopStats struct {
	opened, closed, refused, slowCloses, panics                    atomic.Uint64
	reads, writes, flushes, bytesIn, bytesOut                      atomic.Uint64
	eventsIn, eventsOut, pings                                     atomic.Uint64
	unconvertible, undelivered, keptForAbsent                      atomic.Uint64
	fellBehind, conflated, mailboxDrops, alarmsFull, datagramDrops atomic.Uint64

	bound atomic.Uint64 // times that a client said, or changed, who it is

	dropped  [session.Reasons]atomic.Uint64 // events that were not passed on
	together [20]atomic.Uint64              // writes by the events in each: 0, 1, 2-3, 4-7, ...
}

// counters names what WriteMetrics sums up over the loops.
var counters = []struct {
	name, help string
	of         func(*loopStats) *atomic.Uint64
}{
	{"takd_clients_opened_total", "Clients that connected.", func(s *loopStats) *atomic.Uint64 { return &s.opened }},
	{"takd_clients_closed_total", "Clients that left.", func(s *loopStats) *atomic.Uint64 { return &s.closed }},
	{"takd_clients_slow_closed_total", "Clients closed because they did not read.", func(s *loopStats) *atomic.Uint64 { return &s.slowCloses }},
	{"takd_auth_refused_total", "Refused <auth> preambles.", func(s *loopStats) *atomic.Uint64 { return &s.refused }},
	{"takd_panics_total", "Clients closed because of a defect in takd.", func(s *loopStats) *atomic.Uint64 { return &s.panics }},
	{"takd_reads_total", "Reads from sockets.", func(s *loopStats) *atomic.Uint64 { return &s.reads }},
	{"takd_writes_total", "Writes to sockets.", func(s *loopStats) *atomic.Uint64 { return &s.writes }},
	{"takd_flushes_total", "Flushes of the event loops.", func(s *loopStats) *atomic.Uint64 { return &s.flushes }},
	{"takd_received_bytes_total", "Bytes received, after decryption.", func(s *loopStats) *atomic.Uint64 { return &s.bytesIn }},
	{"takd_sent_bytes_total", "Bytes sent, before encryption.", func(s *loopStats) *atomic.Uint64 { return &s.bytesOut }},
	{"takd_events_received_total", "Events received.", func(s *loopStats) *atomic.Uint64 { return &s.eventsIn }},
	{"takd_events_sent_total", "Events sent, once for each receiver.", func(s *loopStats) *atomic.Uint64 { return &s.eventsOut }},
	{"takd_pings_total", "Pings answered.", func(s *loopStats) *atomic.Uint64 { return &s.pings }},
	{"takd_events_unconvertible_total", "Deliveries left out because the event does not fit the receivers' encoding.", func(s *loopStats) *atomic.Uint64 { return &s.unconvertible }},
	{"takd_events_malformed_total", "Events dropped because they are no CoT events, or have no uid, type or place.", dropped(session.Malformed)},
	{"takd_events_limit_total", "Events dropped because they are larger or deeper than clients make them.", dropped(session.Limit)},
	{"takd_events_oversize_total", "Events not sent to clients because they exceed max_event.", dropped(session.Oversize)},
	{"takd_events_server_only_total", "Events dropped because only a server may say that.", dropped(session.ServerOnly)},
	{"takd_events_looped_total", "Events dropped because they passed this server before.", dropped(session.Looped)},
	{"takd_events_no_group_total", "Events dropped because the sender may not send to the group.", dropped(session.NoGroup)},
	{"takd_events_flooded_total", "Events dropped because more of their sender waited than may.", dropped(session.Flooded)},
	{"takd_uids_refused_total", "Events dropped because they claim the uid of another user's live client.", dropped(session.Stolen)},
	{"takd_chat_undelivered_total", "Chat that nobody could receive.", func(s *loopStats) *atomic.Uint64 { return &s.undelivered }},
	{"takd_chat_kept_total", "Chat kept for absent clients.", func(s *loopStats) *atomic.Uint64 { return &s.keptForAbsent }},
	{"takd_clients_fell_behind_total", "Times that a client read too slowly and got only newest positions.", func(s *loopStats) *atomic.Uint64 { return &s.fellBehind }},
	{"takd_positions_conflated_total", "Positions that gave way to newer ones for a slow client.", func(s *loopStats) *atomic.Uint64 { return &s.conflated }},
	{"takd_mailbox_dropped_total", "Positions dropped between event loops.", func(s *loopStats) *atomic.Uint64 { return &s.mailboxDrops }},
	{"takd_datagrams_dropped_total", "Datagrams dropped because too many wait.", func(s *loopStats) *atomic.Uint64 { return &s.datagramDrops }},
	{"takd_emergencies_refused_total", "Emergencies not repeated because too many are under way.", func(s *loopStats) *atomic.Uint64 { return &s.alarmsFull }},
}

func dropped(r session.Reason) func(*loopStats) *atomic.Uint64 {
	return func(s *loopStats) *atomic.Uint64 { return &s.dropped[r] }
}

// WriteMetrics writes the engine's counters as Prometheus text.
func (e *Engine) WriteMetrics(w io.Writer) {
	put := func(name, kind, help string, v uint64) {
		_, _ = fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", name, help, name, kind, name, v)
	}
	loops := e.allLoops()
	for _, c := range counters {
		sum := c.of(&e.stats).Load()
		for _, l := range loops {
			sum += c.of(&l.stats).Load()
		}
		put(c.name, "counter", c.help, sum)
	}
	e.writeTogether(w, loops)
	letters, bytes, dropped := e.absent.Stats()
	put("takd_clients", "gauge", "Clients connected.", uint64(max(0, e.count.Load())))
	put("takd_clients_limit", "gauge", "Most clients at one time.", uint64(e.maxClients))
	put("takd_handshakes", "gauge", "TLS handshakes under way.", uint64(e.pool.Waiting()))
	put("takd_handshakes_refused_total", "counter", "Refused handshakes.", e.refused.Load())
	put("takd_connections_over_limit_total", "counter", "Connections closed because of max_clients.", e.overLimit.Load())
	put("takd_absent_letters", "gauge", "Chat messages kept for absent clients.", uint64(letters))
	put("takd_absent_bytes", "gauge", "Bytes kept for absent clients.", uint64(bytes))
	put("takd_absent_dropped_total", "counter", "Chat for absent clients that found no room.", dropped)
	put("takd_log_lines_dropped_total", "counter", "Log lines that found no room because nothing takes them.", e.lines.dropped.Load())
	put("takd_emergencies", "gauge", "Emergencies repeated.", uint64(e.repeater.Len()))
	for _, t := range e.taps {
		_, _ = fmt.Fprintf(w, "takd_tap_dropped_total{tap=%q} %d\ntakd_tap_waiting{tap=%q} %d\n", t.Name, t.Dropped(), t.Name, t.Len())
	}
}

// writeTogether writes how many events went out with each write: how well
// gathering them works.
func (e *Engine) writeTogether(w io.Writer, loops []*loop) {
	const name = "takd_events_per_write"
	_, _ = fmt.Fprintf(w, "# HELP %s Events in one write to one client.\n# TYPE %s histogram\n", name, name)
	var sum, events uint64
	for i := range e.stats.together {
		for _, l := range loops {
			sum += l.stats.together[i].Load()
		}
		_, _ = fmt.Fprintf(w, "%s_bucket{le=\"%d\"} %d\n", name, 1<<i-1, sum)
	}
	for _, l := range loops {
		events += l.stats.eventsOut.Load()
	}
	_, _ = fmt.Fprintf(w, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %d\n%s_count %d\n", name, sum, name, events, name, sum)
}
