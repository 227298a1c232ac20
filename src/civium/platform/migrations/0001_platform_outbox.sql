-- migrate:up
SET lock_timeout='4s'; SET statement_timeout='5s';

CREATE SCHEMA outbox_core;

-- An event until every consumer has acknowledged it. `remaining` counts the consumers that have not; it is null until
-- the dispatcher has made the deliveries, because only the dispatcher knows who subscribes.
CREATE TABLE outbox_core.outbox (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL,
    payload bytea NOT NULL,
    remaining int CHECK (remaining >= 0)
);
CREATE INDEX ON outbox_core.outbox (seq) WHERE remaining IS NULL;
CREATE INDEX ON outbox_core.outbox (id) WHERE remaining = 0;

-- One event for one consumer. `holder` is the session of the dispatcher that has it in hand, `due` is then the end of
-- its lease, else the time of the next attempt. `attempts` fences: an acknowledgement names the attempt it is for.
CREATE TABLE outbox_core.delivery (
    event_id uuid NOT NULL REFERENCES outbox_core.outbox,
    consumer text NOT NULL,
    seq bigint NOT NULL,
    key text NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT '-infinity',
    holder int,
    PRIMARY KEY (event_id, consumer)
) WITH (fillfactor = 70);
CREATE INDEX ON outbox_core.delivery (consumer, key, seq);
CREATE INDEX ON outbox_core.delivery (seq);

CREATE TABLE outbox_core.inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX ON outbox_core.inbox (at);

-- `reason` is the name of an error's class: it holds no data.
CREATE TABLE outbox_core.dead_letter (
    event_id uuid NOT NULL,
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL,
    payload bytea NOT NULL,
    attempts int NOT NULL,
    reason text NOT NULL,
    died_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, consumer)
);

GRANT USAGE ON SCHEMA outbox_core TO civium_ctx_access, civium_ctx_audit, civium_ctx_biometrics, civium_ctx_credentials, civium_ctx_identity, civium_ctx_keys, civium_ctx_masterdata, civium_ctx_notify, civium_ctx_packets, civium_ctx_partners, civium_ctx_registration;
GRANT INSERT ON outbox_core.outbox TO civium_ctx_access, civium_ctx_audit, civium_ctx_biometrics, civium_ctx_credentials, civium_ctx_identity, civium_ctx_keys, civium_ctx_masterdata, civium_ctx_notify, civium_ctx_packets, civium_ctx_partners, civium_ctx_registration;
GRANT SELECT, INSERT ON outbox_core.inbox TO civium_ctx_access, civium_ctx_audit, civium_ctx_biometrics, civium_ctx_credentials, civium_ctx_identity, civium_ctx_keys, civium_ctx_masterdata, civium_ctx_notify, civium_ctx_packets, civium_ctx_partners, civium_ctx_registration;
GRANT USAGE ON SCHEMA outbox_core TO civium_core;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox_core TO civium_core;

CREATE SCHEMA outbox_auth;

-- An event until every consumer has acknowledged it. `remaining` counts the consumers that have not; it is null until
-- the dispatcher has made the deliveries, because only the dispatcher knows who subscribes.
CREATE TABLE outbox_auth.outbox (
    id uuid PRIMARY KEY,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    topic text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL,
    payload bytea NOT NULL,
    remaining int CHECK (remaining >= 0)
);
CREATE INDEX ON outbox_auth.outbox (seq) WHERE remaining IS NULL;
CREATE INDEX ON outbox_auth.outbox (id) WHERE remaining = 0;

-- One event for one consumer. `holder` is the session of the dispatcher that has it in hand, `due` is then the end of
-- its lease, else the time of the next attempt. `attempts` fences: an acknowledgement names the attempt it is for.
CREATE TABLE outbox_auth.delivery (
    event_id uuid NOT NULL REFERENCES outbox_auth.outbox,
    consumer text NOT NULL,
    seq bigint NOT NULL,
    key text NOT NULL,
    attempts int NOT NULL DEFAULT 0,
    due timestamptz NOT NULL DEFAULT '-infinity',
    holder int,
    PRIMARY KEY (event_id, consumer)
) WITH (fillfactor = 70);
CREATE INDEX ON outbox_auth.delivery (consumer, key, seq);
CREATE INDEX ON outbox_auth.delivery (seq);

CREATE TABLE outbox_auth.inbox (
    consumer text NOT NULL,
    event_id uuid NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX ON outbox_auth.inbox (at);

-- `reason` is the name of an error's class: it holds no data.
CREATE TABLE outbox_auth.dead_letter (
    event_id uuid NOT NULL,
    consumer text NOT NULL,
    topic text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL,
    payload bytea NOT NULL,
    attempts int NOT NULL,
    reason text NOT NULL,
    died_at timestamptz NOT NULL,
    PRIMARY KEY (event_id, consumer)
);

GRANT USAGE ON SCHEMA outbox_auth TO civium_ctx_authentication;
GRANT INSERT ON outbox_auth.outbox TO civium_ctx_authentication;
GRANT SELECT, INSERT ON outbox_auth.inbox TO civium_ctx_authentication;
GRANT USAGE ON SCHEMA outbox_auth TO civium_auth;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA outbox_auth TO civium_auth;

-- migrate:down
