package control

import (
	"encoding/json"
	"time"

	"takd/store/history"
)

// What the history of a running server is asked.
const (
	HistoryFlush   Op[None, None]                 = "history/flush"
	HistoryStats   Op[None, history.Stats]        = "history/stats"
	HistoryPing    Op[None, Ping]                 = "history/ping"
	HistoryMigrate Op[None, Migrated]             = "history/migrate"
	HistoryImport  Op[ImportRows, ImportedRows]   = "history/import"
	HistoryParquet Op[ParquetExport, FileWritten] = "history/parquet"
	HistoryQuery   Feed[Query]                    = "history/query"
)

// Query says which events are wanted, in order of receipt; each line is a
// history.Row. The zero value of a field asks nothing.
type Query struct {
	Table    string       `json:"table,omitempty"`
	UID      string       `json:"uid,omitempty"`
	Callsign string       `json:"callsign,omitempty"`
	Type     string       `json:"type,omitempty"` // prefix
	User     string       `json:"user,omitempty"`
	Group    string       `json:"group,omitempty"`
	Since    time.Time    `json:"since"`
	Until    time.Time    `json:"until"`
	Box      *history.Box `json:"box,omitempty"`
	Limit    int          `json:"limit,omitempty"`
	Newest   bool         `json:"newest,omitempty"` // newest first
}

// Ping is the answer of the database.
type Ping struct {
	Engine  string  `json:"engine"`
	Version string  `json:"version"`
	TookMS  float64 `json:"took_ms"`
}

// Migrated tells which version the tables have.
type Migrated struct {
	Version     int    `json:"version"`
	PartitionBy string `json:"partition_by"`
}

// ImportRows are lines as HistoryQuery gives them.
type ImportRows struct {
	First int               `json:"first"` // number of the first line in its file, for errors
	Lines []json.RawMessage `json:"lines"`
}

// ImportedRows tells how many were read, and how many were not there before.
type ImportedRows struct {
	Lines int `json:"lines"`
	Added int `json:"added"`
}

// ParquetExport has the embedded engine write a Parquet file.
type ParquetExport struct {
	Query
	File string `json:"file"` // absolute; it must not exist
}

// FileWritten is the file that an export made.
type FileWritten struct {
	File  string `json:"file"`
	Rows  uint64 `json:"rows"`
	Bytes int64  `json:"bytes"`
}
