-- migrate:up
SET lock_timeout='4s';
SET statement_timeout='5s';

CREATE SCHEMA keys;

-- Roots and intermediates by domain of partners. Partners' own certificates never come here.
CREATE TABLE keys.authority_certificate (
    domain text NOT NULL,
    thumbprint bytea NOT NULL CHECK (octet_length(thumbprint) = 32),
    kind text NOT NULL CHECK (kind IN ('ROOT', 'INTERMEDIATE')),
    subject text NOT NULL,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    pem text NOT NULL,
    added_at timestamptz NOT NULL,
    PRIMARY KEY (domain, thumbprint)
);

-- What partners uploaded and what they got back; the same certificate may be uploaded again to renew the answer.
CREATE TABLE keys.partner_certificate (
    certificate_id uuid PRIMARY KEY,
    domain text NOT NULL,
    organisation text NOT NULL,
    original_thumbprint bytea NOT NULL CHECK (octet_length(original_thumbprint) = 32),
    signed_thumbprint bytea NOT NULL CHECK (octet_length(signed_thumbprint) = 32),
    original_pem text NOT NULL,
    signed_pem text NOT NULL,
    registered_at timestamptz NOT NULL
);

CREATE INDEX partner_certificate_original ON keys.partner_certificate (original_thumbprint);
CREATE INDEX partner_certificate_signed ON keys.partner_certificate (signed_thumbprint);

CREATE TABLE keys.revoked_certificate (
    thumbprint bytea PRIMARY KEY CHECK (octet_length(thumbprint) = 32),
    reason text NOT NULL,
    revoked_at timestamptz NOT NULL
);

GRANT USAGE ON SCHEMA keys TO civium_ctx_keys;
-- Nothing here is ever changed or taken away.
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA keys TO civium_ctx_keys;

-- migrate:down
