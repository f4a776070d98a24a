package control

import (
	"time"
)

// BackupOp writes a backup, as the user that the server runs as.
const BackupOp Op[Backup, BackedUp] = "backup"

// Backup says where a backup goes, and who can open it: everybody who can read
// the file, without a recipient or passphrase.
type Backup struct {
	File       string   `json:"file"`       // absolute
	Recipients []string `json:"recipients"` // age1...
	Passphrase string   `json:"passphrase"`
}

// BackedUp says what a backup holds.
type BackedUp struct {
	File        string    `json:"file"`
	Bytes       int64     `json:"bytes"` // of the file
	Files       int       `json:"files"` // in it
	FilesBytes  int64     `json:"files_bytes"`
	Created     time.Time `json:"created"`
	Version     string    `json:"version"`
	ServerID    string    `json:"server_id"`
	Missing     []string  `json:"missing"` // what was not there, or no plain file
	NotIncluded string    `json:"not_included"`
}
