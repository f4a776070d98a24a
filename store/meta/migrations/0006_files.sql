-- Files that clients upload. Their bytes are in the directory blob, by SHA-256;
-- each row is one upload, and several may share the bytes.

CREATE TABLE files (
    id           BIGINT  NOT NULL PRIMARY KEY, -- below 2^31: clients keep it in an int
    hash         TEXT    NOT NULL,             -- 64 hex digits, lower case
    uid          TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    mime         TEXT    NOT NULL,
    size         BIGINT  NOT NULL,
    submitted_at BIGINT  NOT NULL,
    submitter    TEXT    NOT NULL,
    creator_uid  TEXT    NOT NULL,
    keywords     TEXT    NOT NULL,             -- a JSON list
    groups       TEXT    NOT NULL,             -- a JSON list
    tool         TEXT    NOT NULL,
    remarks      TEXT    NOT NULL,
    expires      BIGINT  NOT NULL,             -- Unix seconds, -1 for never
    lat          DOUBLE PRECISION,
    lon          DOUBLE PRECISION,
    alt          DOUBLE PRECISION
);
CREATE INDEX files_hash ON files (hash);
CREATE INDEX files_uid ON files (uid);
CREATE INDEX files_submitter ON files (submitter);
CREATE INDEX files_submitted_at ON files (submitted_at, id);
CREATE INDEX files_expires ON files (expires);

CREATE TABLE file_groups (
    file_id    BIGINT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    group_name TEXT   NOT NULL,
    PRIMARY KEY (file_id, group_name)
);

CREATE TABLE file_keywords (
    file_id BIGINT NOT NULL REFERENCES files (id) ON DELETE CASCADE,
    keyword TEXT   NOT NULL,
    PRIMARY KEY (file_id, keyword)
);
CREATE INDEX file_keywords_keyword ON file_keywords (keyword, file_id);

-- Ids are never given twice: a client may still hold an old one, and delete by it.
CREATE TABLE file_counter (
    one  BIGINT NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
INSERT INTO file_counter (one, last) VALUES (1, 0);

-- Video connections: where a stream is to be had, and who sees that.
CREATE TABLE videos (
    uid        TEXT   NOT NULL PRIMARY KEY,
    owner      TEXT   NOT NULL,
    groups     TEXT   NOT NULL, -- a JSON list
    body       TEXT   NOT NULL, -- JSON, as the API has it
    created_at BIGINT NOT NULL
);
