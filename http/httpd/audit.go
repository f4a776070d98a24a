package httpd

import (
	"context"
	"log/slog"
)

// Audit records what somebody did. That it was done stands, recorded or not.
type Audit func(ctx context.Context, actor, action, detail string)

// NewAudit has record keep what is done; log hears of what it cannot keep.
func NewAudit(record func(ctx context.Context, actor, action, detail string) error, log *slog.Logger) Audit {
	return func(ctx context.Context, actor, action, detail string) {
		if err := record(ctx, actor, action, detail); err != nil {
			log.Error("not in the audit log", "actor", actor, "action", action, "detail", detail, "error", err)
		}
	}
}

// By records what a caller did.
func (a Audit) By(r *Request, action, detail string) { a(r.Context(), r.Who.User, action, detail) }
