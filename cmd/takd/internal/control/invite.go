package control

import (
	"time"

	"takd/http/enroll"
)

// The operations on invitations.
const (
	InviteAdd    Op[NewInvite, enroll.Invitation] = "invite/add"
	InviteList   Op[None, []enroll.Invite]        = "invite/list"
	InviteRemove Op[InviteID, enroll.Invite]      = "invite/remove"
)

// NewInvite asks for an invitation.
type NewInvite struct {
	User  string        `json:"user"`
	In    []string      `json:"in"`
	Out   []string      `json:"out"`
	Life  time.Duration `json:"life"` // 0 is the default
	Uses  int           `json:"uses"`
	Label string        `json:"label"`
	Host  string        `json:"host"` // "" is server.host
}

// InviteID names an invitation.
type InviteID struct {
	ID string `json:"id"`
}
