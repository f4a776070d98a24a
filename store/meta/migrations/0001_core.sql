-- Users, groups, certificates, imported authorities, settings and the audit log.
-- Portable SQL: times are Unix milliseconds, keys are text, no auto-increment.

CREATE TABLE settings (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    name       TEXT    NOT NULL PRIMARY KEY,
    role       TEXT    NOT NULL CHECK (role IN ('admin', 'user', 'readonly')),
    hash       TEXT    NOT NULL DEFAULT '',
    disabled   BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT  NOT NULL,
    updated_at BIGINT  NOT NULL
);

-- Names of removed users: a certificate that still carries one is refused.
CREATE TABLE removed_users (
    name       TEXT   NOT NULL PRIMARY KEY,
    removed_at BIGINT NOT NULL
);

-- A bit belongs to one group name for ever: bits of removed groups are not given out again.
CREATE TABLE "groups" (
    name       TEXT   NOT NULL PRIMARY KEY,
    bit        BIGINT NOT NULL UNIQUE,
    removed    BOOLEAN NOT NULL DEFAULT FALSE,
    created_at BIGINT NOT NULL
);

CREATE TABLE memberships (
    user_name  TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    group_name TEXT NOT NULL REFERENCES "groups" (name) ON DELETE CASCADE,
    direction  TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    PRIMARY KEY (user_name, group_name, direction)
);
CREATE INDEX memberships_group ON memberships (group_name);

CREATE TABLE certificates (
    serial      TEXT   NOT NULL PRIMARY KEY,
    name        TEXT   NOT NULL,
    kind        TEXT   NOT NULL CHECK (kind IN ('client', 'server')),
    fingerprint TEXT   NOT NULL,
    not_before  BIGINT NOT NULL,
    not_after   BIGINT NOT NULL,
    issued_at   BIGINT NOT NULL,
    revoked_at  BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX certificates_name ON certificates (name);

CREATE TABLE imported_cas (
    fingerprint TEXT   NOT NULL PRIMARY KEY,
    subject     TEXT   NOT NULL,
    pem         TEXT   NOT NULL,
    not_after   BIGINT NOT NULL,
    added_at    BIGINT NOT NULL
);

CREATE TABLE audit (
    id     TEXT   NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT   NOT NULL,
    action TEXT   NOT NULL,
    detail TEXT   NOT NULL
);
CREATE INDEX audit_at ON audit (at);

INSERT INTO "groups" (name, bit, removed, created_at) VALUES ('__ANON__', 2, FALSE, 0);
