package control

import "takd/store/retain"

// What the Retention service is asked.
const (
	RetentionShow  Op[None, retain.View]          = "retention/show"
	RetentionSet   Op[retain.Change, retain.View] = "retention/set"
	RetentionRunOp Op[RetentionRun, retain.Run]   = "retention/run"
)

// RetentionRun asks for a run.
type RetentionRun struct {
	DryRun bool `json:"dry_run"`
}
