package retain

import (
	"context"

	"takd/store/history"
)

// Partition is a partition of the history. It goes by the policy of its class once
// its end is longer ago than that keeps data.
type Partition struct {
	Class string `json:"class"` // "" for what no policy removes
	Table string `json:"table"`
	history.Partition
}

// classOf are the classes of the history's tables.
var classOf = map[string]string{history.Cot: Cot, history.Chat: Chat, history.Endpoints: Endpoint}

// Partitions lists what the history holds, the oldest of each table first; nothing
// where there is no history.
func (s *Service) Partitions(ctx context.Context) ([]Partition, error) {
	all := []Partition{}
	if s.opts.History == nil {
		return all, nil
	}
	stats, err := s.opts.History.Stats(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range stats.Tables {
		for _, p := range t.Partitions {
			all = append(all, Partition{Class: classOf[t.Name], Table: t.Name, Partition: p})
		}
	}
	return all, nil
}
