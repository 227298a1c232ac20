-- migrate:up
SET lock_timeout='4s';
SET statement_timeout='5s';

-- The id by which the wire names an authority.
ALTER TABLE keys.authority_certificate ADD COLUMN certificate_id uuid NOT NULL DEFAULT gen_random_uuid();
ALTER TABLE keys.authority_certificate ADD CONSTRAINT authority_certificate_id UNIQUE (certificate_id);

-- Wrong PINs by caller: for all envelopes (an empty one) and for each.
CREATE TABLE keys.pin_attempt (
    caller text NOT NULL,
    envelope bytea NOT NULL CHECK (octet_length(envelope) IN (0, 32)),
    window_ends timestamptz NOT NULL,
    attempts integer NOT NULL,
    PRIMARY KEY (caller, envelope)
);

CREATE INDEX pin_attempt_window_ends ON keys.pin_attempt (window_ends);

-- Licence keys are kept as keyed hashes only.
CREATE TABLE keys.license_key (
    license_hash bytea PRIMARY KEY CHECK (octet_length(license_hash) = 32),
    tsp_id text NOT NULL,
    expires_at timestamptz NOT NULL,
    made_at timestamptz NOT NULL
);

CREATE TABLE keys.license_permission (
    license_hash bytea NOT NULL REFERENCES keys.license_key,
    permission text NOT NULL,
    PRIMARY KEY (license_hash, permission)
);

GRANT SELECT, INSERT ON keys.license_key, keys.license_permission TO civium_ctx_keys;
GRANT SELECT, INSERT, UPDATE, DELETE ON keys.pin_attempt TO civium_ctx_keys;

-- migrate:down
