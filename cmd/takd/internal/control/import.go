package control

import "takd/cmd/takd/internal/moving"

// MoveOp brings over what another server kept.
const MoveOp Op[Move, Moved] = "import"

// Move names the data of another server.
type Move struct {
	From   string `json:"from"` // official or ots
	Dir    string `json:"dir"`  // absolute, or a DSN
	DryRun bool   `json:"dry_run"`
}

// Moved says what came over, and what did not.
type Moved struct {
	DryRun        bool          `json:"dry_run"`
	Comes         []moving.Item `json:"comes"`
	Left          []moving.Item `json:"left"`
	RestartNeeded []string      `json:"restart_needed"`
}
