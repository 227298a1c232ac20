-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA authentication;

-- Relying parties, policies, keys, anchors, salts: sealed records, read whole into each process's snapshot.
CREATE TABLE authentication.reference (
    kind text NOT NULL,
    key  text NOT NULL,
    box  bytea NOT NULL,
    PRIMARY KEY (kind, key)
);

CREATE TABLE authentication.reference_version (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL
);
INSERT INTO authentication.reference_version (version) VALUES (1);

-- One person under one identifier. id is a keyed hash; everything else about the person is sealed.
CREATE TABLE authentication.identity_cache (
    id           bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    version      integer NOT NULL,
    token_hash   bytea NOT NULL CHECK (octet_length(token_hash) = 32),
    token        bytea NOT NULL,
    demographics bytea NOT NULL,
    biometrics   bytea
);

-- The sealed head says which version of the row is the last one, when it expires and how many uses are left.
CREATE TABLE authentication.identity_head (
    id  bytea PRIMARY KEY CHECK (octet_length(id) = 32),
    box bytea NOT NULL
);

CREATE TABLE authentication.auth_lock (
    token_hash        bytea NOT NULL CHECK (octet_length(token_hash) = 32),
    code              text NOT NULL,
    locked            boolean NOT NULL,
    unlock_expires_at timestamptz,
    PRIMARY KEY (token_hash, code)
);

CREATE TABLE authentication.otp (
    identity   bytea PRIMARY KEY CHECK (octet_length(identity) = 32),
    version    integer NOT NULL,
    mac        bytea NOT NULL CHECK (octet_length(mac) = 32),
    status     text NOT NULL CHECK (status IN ('active', 'used', 'frozen', 'unfrozen')),
    expires_at timestamptz NOT NULL,
    failures   integer NOT NULL,
    frozen_at  timestamptz
);

CREATE TABLE authentication.auth_transaction (
    id             uuid PRIMARY KEY,
    requested_at   timestamptz NOT NULL,
    responded_at   timestamptz NOT NULL,
    transaction_id text NOT NULL,
    type_codes     text NOT NULL,
    succeeded      boolean NOT NULL,
    comment        text NOT NULL,
    id_type        text NOT NULL,
    identity       bytea NOT NULL CHECK (octet_length(identity) = 32),
    token_hash     bytea,
    partner_id     text NOT NULL
);
CREATE INDEX auth_transaction_otp_request ON authentication.auth_transaction (token_hash, requested_at DESC)
    WHERE type_codes = 'OTP-REQUEST' AND succeeded;

CREATE TABLE authentication.replay (
    key     bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    seen_at timestamptz NOT NULL
);
CREATE INDEX replay_age ON authentication.replay (seen_at);

GRANT USAGE ON SCHEMA authentication TO civium_ctx_authentication;
GRANT SELECT, INSERT, UPDATE ON authentication.reference, authentication.auth_lock TO civium_ctx_authentication;
GRANT SELECT, UPDATE ON authentication.reference_version TO civium_ctx_authentication;
GRANT SELECT, INSERT, UPDATE, DELETE ON authentication.identity_cache, authentication.identity_head,
    authentication.otp TO civium_ctx_authentication;
GRANT SELECT, INSERT ON authentication.auth_transaction TO civium_ctx_authentication;
GRANT SELECT, INSERT, DELETE ON authentication.replay TO civium_ctx_authentication;

-- migrate:down
