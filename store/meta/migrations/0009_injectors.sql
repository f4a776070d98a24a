-- What is put into the events of a uid, and layers of maps for web clients.

CREATE TABLE injectors (
    uid      TEXT NOT NULL,
    fragment TEXT NOT NULL, -- an XML element
    PRIMARY KEY (uid, fragment)
);

CREATE TABLE map_layers (
    uid        TEXT   NOT NULL PRIMARY KEY,
    owner      TEXT   NOT NULL, -- who may change it
    body       TEXT   NOT NULL, -- JSON, as the API has it
    created_at BIGINT NOT NULL
);
