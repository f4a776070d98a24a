-- What plugins and web clients keep by uid, and counters that they share.

CREATE TABLE properties (
    uid   TEXT NOT NULL,
    name  TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (uid, name, value)
);

CREATE TABLE sequences (
    name TEXT   NOT NULL PRIMARY KEY,
    last BIGINT NOT NULL
);
