-- migrate:up
SET lock_timeout='4s';
SET statement_timeout='5s';

CREATE SCHEMA identity;

-- Numbers ever issued. A row is written before its number is used: the same registration resumes with the same number.
CREATE TABLE identity.mint (
    uin_hash bytea PRIMARY KEY CHECK (octet_length(uin_hash) = 32),
    ref uuid NOT NULL UNIQUE,
    rid_hash bytea UNIQUE CHECK (octet_length(rid_hash) = 32),
    status text NOT NULL CHECK (status IN ('ISSUED', 'ASSIGNED')),
    uin_box bytea,
    issued_at timestamptz NOT NULL
);

CREATE TABLE identity.person (
    ref uuid PRIMARY KEY,
    uin_hash bytea NOT NULL UNIQUE CHECK (octet_length(uin_hash) = 32),
    rid_hash bytea NOT NULL UNIQUE CHECK (octet_length(rid_hash) = 32),
    status text NOT NULL CHECK (status IN ('ACTIVATED', 'BLOCKED', 'DEACTIVATED')),
    version integer NOT NULL CHECK (version > 0),
    uin_box bytea NOT NULL,
    rid_box bytea NOT NULL,
    demographics_box bytea NOT NULL,
    objects_box bytea NOT NULL,
    demographic_key bytea NOT NULL,
    biometric_key bytea NOT NULL,
    changed_at timestamptz NOT NULL
);

-- Every version of every record, sealed as it was.
CREATE TABLE identity.person_version (
    ref uuid NOT NULL REFERENCES identity.person,
    version integer NOT NULL,
    status text NOT NULL,
    rid_hash bytea NOT NULL,
    uin_box bytea NOT NULL,
    rid_box bytea NOT NULL,
    demographics_box bytea NOT NULL,
    objects_box bytea NOT NULL,
    changed_at timestamptz NOT NULL,
    PRIMARY KEY (ref, version)
);

-- The authenticated head of a record: which version is the current one, and a MAC over all that it consists of.
CREATE TABLE identity.head (
    ref uuid PRIMARY KEY REFERENCES identity.person,
    version integer NOT NULL,
    mac bytea NOT NULL CHECK (octet_length(mac) = 32)
);

-- Every registration that a record came from, so that older registration ids resolve. The MAC binds it to its person.
CREATE TABLE identity.registration (
    rid_hash bytea PRIMARY KEY CHECK (octet_length(rid_hash) = 32),
    ref uuid NOT NULL REFERENCES identity.person,
    mac bytea NOT NULL CHECK (octet_length(mac) = 32)
);

CREATE TABLE identity.auth_lock (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    ref uuid NOT NULL REFERENCES identity.person,
    auth_type text NOT NULL,
    auth_sub_type text,
    locked boolean NOT NULL,
    unlock_expires_at timestamptz,
    request_id text,
    requested_at timestamptz NOT NULL
);
CREATE INDEX auth_lock_ref ON identity.auth_lock (ref, id);

-- Virtual numbers ever issued, bound to a person or not; the MAC says which state of the VID's row is the last one.
CREATE TABLE identity.vid_number (
    vid_hash bytea PRIMARY KEY CHECK (octet_length(vid_hash) = 32),
    expires_at timestamptz,
    mac bytea CHECK (octet_length(mac) = 32)
);

CREATE TABLE identity.vid (
    vid_hash bytea PRIMARY KEY REFERENCES identity.vid_number,
    ref uuid NOT NULL REFERENCES identity.person,
    kind text NOT NULL,
    status text NOT NULL,
    vid_box bytea NOT NULL,
    generated_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX vid_ref ON identity.vid (ref, generated_at);

GRANT USAGE ON SCHEMA identity TO civium_ctx_identity;
GRANT SELECT, INSERT, UPDATE, DELETE ON identity.mint TO civium_ctx_identity;
GRANT SELECT, INSERT, UPDATE ON identity.person, identity.head, identity.vid, identity.vid_number TO civium_ctx_identity;
GRANT SELECT, INSERT ON identity.person_version, identity.registration, identity.auth_lock TO civium_ctx_identity;

-- migrate:down
