package history

import (
	"fmt"
	"io"

	"takd/store/history/engine"
)

// WriteMetrics writes how the history is, in the Prometheus text format.
func (s *Store) WriteMetrics(w io.Writer) {
	if s.rec == nil {
		return
	}
	st := s.Health()
	up := 0
	if st.State == engine.Ready {
		up = 1
	}
	_, _ = fmt.Fprintf(w, "takd_history_up %d\ntakd_history_received_total %d\ntakd_history_written_total %d\ntakd_history_dropped_total %d\ntakd_history_errors_total %d\ntakd_history_waiting %d\n",
		up, st.Received, st.Written, st.Dropped, st.Errors, st.Waiting)
	_, _ = fmt.Fprintf(w, "takd_history_spool_bytes %d\ntakd_history_spool_rows %d\ntakd_history_spool_dropped_total %d\n", st.Spool.Bytes, st.Spool.Rows, st.Spool.Dropped)
	if st.Child != nil {
		_, _ = fmt.Fprintf(w, "takd_history_engine_memory_bytes %d\ntakd_history_engine_restarts_total %d\n", st.Child.Memory, st.Child.Restarts)
	}
}
