package history

import "context"

// Sampled is how many uids are sampled at one time.
const Sampled = sampled

// Size is how many uids are remembered.
func (p *Policy) Size() int { return len(p.last) }

// ColumnSizes tells what each column takes; for measurements.
func (s *Store) ColumnSizes(ctx context.Context) (out map[string]uint64, err error) {
	rows, err := s.db.Query(ctx, "SELECT column, sum(column_data_compressed_bytes) FROM system.parts_columns WHERE active AND table = 'cot' GROUP BY column ORDER BY 2 DESC")
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	out = make(map[string]uint64)
	for rows.Next() {
		var (
			name  string
			bytes uint64
		)
		if err := rows.Scan(&name, &bytes); err != nil {
			return nil, err
		}
		out[name] = bytes
	}
	return out, rows.Err()
}
