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

-- Parts of the names of files, in any case: three letters and more are found
-- without a look at every row. Triggers keep it.
CREATE VIRTUAL TABLE file_names USING fts5(name, content='', contentless_delete=1, tokenize='trigram');
INSERT INTO file_names (rowid, name) SELECT id, name FROM files;
CREATE TRIGGER files_name_new AFTER INSERT ON files BEGIN
    INSERT INTO file_names (rowid, name) VALUES (new.id, new.name);
END;
CREATE TRIGGER files_name_gone AFTER DELETE ON files BEGIN
    DELETE FROM file_names WHERE rowid = old.id;
END;
CREATE TRIGGER files_name_changed AFTER UPDATE OF name ON files WHEN old.name <> new.name BEGIN
    DELETE FROM file_names WHERE rowid = old.id;
    INSERT INTO file_names (rowid, name) VALUES (new.id, new.name);
END;
