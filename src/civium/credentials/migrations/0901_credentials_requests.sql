-- migrate:up
SET lock_timeout='4s';
SET statement_timeout='5s';

CREATE SCHEMA credentials;

-- One request per identifier and version of its data. It answers "where is my credential" without naming anyone.
CREATE TABLE credentials.credential_request (
    id uuid PRIMARY KEY,
    person_ref uuid NOT NULL,
    identifier_hash bytea NOT NULL CHECK (octet_length(identifier_hash) = 32),
    version integer NOT NULL,
    kind text NOT NULL CHECK (kind IN ('UIN', 'VID')),
    status text NOT NULL CHECK (status IN ('NEW', 'ISSUED', 'CANCELLED')),
    requested_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    UNIQUE (identifier_hash, version)
);
CREATE INDEX credential_request_person ON credentials.credential_request (person_ref);

GRANT USAGE ON SCHEMA credentials TO civium_ctx_credentials;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA credentials TO civium_ctx_credentials;

-- migrate:down
