-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA access;

-- Users and service clients. `name_hash` is the keyed hash of kind and name; the box holds roles and secret hash.
CREATE TABLE access.account (
    name_hash bytea PRIMARY KEY CHECK (length(name_hash) = 32),
    version integer NOT NULL,
    box bytea NOT NULL
);

-- Failed log-ins per name, known or not, within the present window.
CREATE TABLE access.failed_login (
    name_hash bytea PRIMARY KEY CHECK (length(name_hash) = 32),
    failures integer NOT NULL,
    since timestamptz NOT NULL
);

-- Tokens that are invalid although they have not expired yet.
CREATE TABLE access.revoked_token (
    jti text PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX revoked_token_expiry ON access.revoked_token (expires_at);

GRANT USAGE ON SCHEMA access TO civium_ctx_access;
GRANT SELECT, INSERT, UPDATE ON access.account TO civium_ctx_access;
GRANT SELECT, INSERT, UPDATE, DELETE ON access.failed_login TO civium_ctx_access;
GRANT SELECT, INSERT, DELETE ON access.revoked_token TO civium_ctx_access;

-- migrate:down
