package control

import (
	"time"

	"takd/http/enroll"
	"takd/store/meta"
)

// The operations on invitations.
const (
	InviteAdd    Op[NewInvite, enroll.Invitation] = "invite/add"
	InviteList   Op[None, []enroll.Invite]        = "invite/list"
	InviteRevoke Op[InviteID, []enroll.Invite]    = "invite/revoke"
	AuditOp      Op[Number, []meta.AuditEntry]    = "audit"
)

// NewInvite asks for an invitation.
type NewInvite struct {
	User  string        `json:"user"`
	In    []string      `json:"in"`
	Out   []string      `json:"out"`
	Life  time.Duration `json:"life"` // 0 is the default
	Uses  int           `json:"uses"`
	Label string        `json:"label"`
	Role  string        `json:"role"` // of a user that is made; "" is user
	Host  string        `json:"host"` // "" is server.host
}

// InviteID names invitations by id, user or token.
type InviteID struct {
	Who string `json:"who"`
}
