-- Chat kept for clients that are away, and who they are.

-- Ids are given by who keeps the letters: they grow with time.
CREATE TABLE letters (
    id        BIGINT NOT NULL PRIMARY KEY,
    user_name TEXT   NOT NULL,
    uid       TEXT   NOT NULL,
    callsign  TEXT   NOT NULL,
    sender    TEXT   NOT NULL,
    groups    TEXT   NOT NULL, -- a JSON list
    event     BLOB   NOT NULL,
    format    BIGINT NOT NULL,
    kept_at   BIGINT NOT NULL,
    expires   BIGINT NOT NULL
);
CREATE INDEX letters_addressee ON letters (user_name, uid);
CREATE INDEX letters_expires ON letters (expires);

CREATE TABLE absentees (
    user_name TEXT   NOT NULL,
    uid       TEXT   NOT NULL,
    callsign  TEXT   NOT NULL,
    groups    TEXT   NOT NULL, -- a JSON list
    left_at   BIGINT NOT NULL,
    PRIMARY KEY (user_name, uid)
);
CREATE INDEX absentees_left_at ON absentees (left_at);
