-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA partners;

CREATE TABLE partners.policy_group (
    id          text PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text NOT NULL,
    active      boolean NOT NULL DEFAULT true,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL
);

CREATE TABLE partners.policy (
    id           text PRIMARY KEY,
    group_id     text NOT NULL REFERENCES partners.policy_group,
    type         text NOT NULL,
    name         text NOT NULL,
    description  text NOT NULL,
    version      text NOT NULL,
    body         jsonb NOT NULL,
    status       text NOT NULL CHECK (status IN ('draft', 'active', 'deactivated')),
    commence_on  timestamptz NOT NULL,
    expires_on   timestamptz NOT NULL,
    created_by   text NOT NULL,
    created_at   timestamptz NOT NULL,
    UNIQUE (group_id, name)
);

CREATE TABLE partners.partner (
    id             text PRIMARY KEY,
    type           text NOT NULL,
    organisation   text NOT NULL,
    contact        bytea NOT NULL,
    email_hash     bytea NOT NULL UNIQUE,
    group_id       text REFERENCES partners.policy_group,
    status         text NOT NULL CHECK (status IN ('InProgress', 'approved')),
    active         boolean NOT NULL DEFAULT false,
    certificate_id text,
    signed_pem     text,
    original_pem   text,
    created_by     text NOT NULL,
    created_at     timestamptz NOT NULL
);

CREATE TABLE partners.policy_mapping (
    key        text PRIMARY KEY,
    partner_id text NOT NULL REFERENCES partners.partner,
    policy_id  text NOT NULL REFERENCES partners.policy,
    use_case   text NOT NULL,
    status     text NOT NULL CHECK (status IN ('InProgress', 'Approved', 'Rejected')),
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX ON partners.policy_mapping (partner_id, policy_id);

CREATE TABLE partners.api_key (
    key_hash    bytea PRIMARY KEY,
    sealed_key  bytea NOT NULL,
    row_id      uuid NOT NULL UNIQUE,
    partner_id  text NOT NULL REFERENCES partners.partner,
    policy_id   text NOT NULL REFERENCES partners.policy,
    label       text NOT NULL,
    active      boolean NOT NULL DEFAULT true,
    commence_on timestamptz NOT NULL,
    expires_on  timestamptz NOT NULL,
    created_by  text NOT NULL,
    UNIQUE (partner_id, policy_id, label)
);

CREATE TABLE partners.misp_licence (
    key_hash    bytea PRIMARY KEY,
    sealed_key  bytea NOT NULL,
    row_id      uuid NOT NULL UNIQUE,
    misp_id     text NOT NULL REFERENCES partners.partner,
    policy_id   text NOT NULL REFERENCES partners.policy,
    active      boolean NOT NULL DEFAULT true,
    commence_on timestamptz NOT NULL,
    expires_on  timestamptz NOT NULL,
    created_by  text NOT NULL
);
CREATE UNIQUE INDEX ON partners.misp_licence (misp_id) WHERE active;

GRANT USAGE ON SCHEMA partners TO civium_ctx_partners;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA partners TO civium_ctx_partners;

-- migrate:down
