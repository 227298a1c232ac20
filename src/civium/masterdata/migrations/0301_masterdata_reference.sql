-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA masterdata;

-- One row. `version` grows with every change; 0 means that the shipped data are not there yet.
CREATE TABLE masterdata.change (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL
);
INSERT INTO masterdata.change (version) VALUES (0);

CREATE TABLE masterdata.id_schema (
    id text PRIMARY KEY,
    version double precision NOT NULL UNIQUE,
    title text NOT NULL,
    description text NOT NULL,
    schema_text text NOT NULL,
    effective_from timestamptz NOT NULL
);

CREATE TABLE masterdata.identity_mapping (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    mapping_text text NOT NULL
);

-- Code lists that people choose from: languages, genders, titles and the like.
CREATE TABLE masterdata.list_item (
    list text NOT NULL,
    code text NOT NULL,
    language text NOT NULL,
    name text NOT NULL,
    position integer NOT NULL,
    PRIMARY KEY (list, code, language)
);

CREATE TABLE masterdata.centre (
    id text PRIMARY KEY CHECK (id ~ '^[0-9]{5}$'),
    active boolean NOT NULL DEFAULT true
);

CREATE TABLE masterdata.centre_name (
    centre text NOT NULL REFERENCES masterdata.centre (id),
    language text NOT NULL,
    name text NOT NULL,
    PRIMARY KEY (centre, language)
);

CREATE TABLE masterdata.machine (
    id text PRIMARY KEY CHECK (id ~ '^[0-9]{5}$'),
    name text NOT NULL,
    centre text NOT NULL REFERENCES masterdata.centre (id),
    public_key bytea NOT NULL,
    sign_public_key bytea NOT NULL,
    key_index text NOT NULL UNIQUE,
    sign_key_index text NOT NULL UNIQUE,
    active boolean NOT NULL DEFAULT true
);

CREATE TABLE masterdata.operator (
    user_id text PRIMARY KEY,
    centre text NOT NULL REFERENCES masterdata.centre (id),
    role text NOT NULL,
    active boolean NOT NULL DEFAULT true
);

CREATE TABLE masterdata.template (
    code text NOT NULL,
    language text NOT NULL,
    template_text text NOT NULL,
    PRIMARY KEY (code, language)
);

-- The last sequence number that each machine used in a registration id.
CREATE TABLE masterdata.rid_sequence (
    machine text PRIMARY KEY CHECK (machine ~ '^[0-9]{5}$'),
    last integer NOT NULL CHECK (last BETWEEN 1 AND 99999)
);

GRANT USAGE ON SCHEMA masterdata TO civium_ctx_masterdata;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA masterdata TO civium_ctx_masterdata;

-- migrate:down
