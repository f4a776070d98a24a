package control

import (
	"takd/store/blob"
	"takd/store/retain"
)

// What retention is told.
const (
	RetentionShow Op[None, retain.Overview]            = "retention/show"
	RetentionSet  Op[RetentionChange, retain.Overview] = "retention/set"
	RetentionRun  Op[RetentionRunNow, retain.Report]   = "retention/run"
)

// RetentionChange changes what is not empty.
type RetentionChange struct {
	Class    string     `json:"class,omitempty"`
	TTL      *int64     `json:"ttl,omitempty"` // seconds, of Class; nil: for ever
	Schedule *string    `json:"schedule,omitempty"`
	KeepFree *blob.Size `json:"keep_free,omitempty"`
}

// RetentionRunNow starts a run.
type RetentionRunNow struct {
	DryRun bool `json:"dry_run"`
}
