-- Tokens, sessions, invitations; certificates by request.

-- The device that asked for a certificate, and from where.
ALTER TABLE certificates ADD COLUMN client_uid TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN address    TEXT NOT NULL DEFAULT '';
ALTER TABLE certificates ADD COLUMN client_version TEXT NOT NULL DEFAULT '';

-- Invitations. Only the SHA-256 of a token is kept. Groups are one a line.
CREATE TABLE invites (
    id         TEXT   NOT NULL PRIMARY KEY,
    token_hash TEXT   NOT NULL UNIQUE,
    user_name  TEXT   NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    label      TEXT   NOT NULL,
    in_groups  TEXT   NOT NULL,
    out_groups TEXT   NOT NULL,
    created_by TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    max_uses   BIGINT NOT NULL,
    uses       BIGINT NOT NULL DEFAULT 0,
    used_at    BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX invites_user ON invites (user_name);
CREATE INDEX invites_expires ON invites (expires_at);

-- Which device got a certificate with an invitation: its profile is for that one.
CREATE TABLE invite_uses (
    id         TEXT   NOT NULL PRIMARY KEY,
    invite_id  TEXT   NOT NULL REFERENCES invites (id) ON DELETE CASCADE,
    client_uid TEXT   NOT NULL,
    used_at    BIGINT NOT NULL
);
CREATE INDEX invite_uses_invite ON invite_uses (invite_id);

-- Access tokens that were revoked before they expired.
CREATE TABLE revoked_tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_name  TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Access tokens of a user from before this moment are worth nothing.
CREATE TABLE token_floors (
    user_name  TEXT   NOT NULL PRIMARY KEY,
    not_before BIGINT NOT NULL
);
