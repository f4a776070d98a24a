-- Who was here, and which groups a device has switched on.

-- The last connection of each client.
CREATE TABLE endpoints (
    uid       TEXT   NOT NULL PRIMARY KEY,
    callsign  TEXT   NOT NULL,
    user_name TEXT   NOT NULL,
    team      TEXT   NOT NULL,
    role      TEXT   NOT NULL,
    in_groups TEXT   NOT NULL, -- one a line
    at        BIGINT NOT NULL
);
CREATE INDEX endpoints_at ON endpoints (at);

-- Groups that are switched off; device '' is all devices of the user.
CREATE TABLE inactive_groups (
    user_name  TEXT NOT NULL,
    client_uid TEXT NOT NULL,
    group_name TEXT NOT NULL,
    direction  TEXT NOT NULL CHECK (direction IN ('in', 'out')),
    PRIMARY KEY (user_name, client_uid, group_name, direction)
);
