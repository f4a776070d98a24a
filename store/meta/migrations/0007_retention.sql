-- What retention has removed, and when.

CREATE TABLE retention_runs (
    id     TEXT   NOT NULL PRIMARY KEY,
    at     BIGINT NOT NULL,
    actor  TEXT   NOT NULL,
    report TEXT   NOT NULL -- JSON
);
CREATE INDEX retention_runs_at ON retention_runs (at);
