-- migrate:up
SET lock_timeout='4s'; SET statement_timeout='5s';

CREATE SCHEMA registration;

-- What a registration client announced. `rid_box` is sealed to (packet_hash, version); the hashes are keyed.
CREATE TABLE registration.sync (
    packet_hash bytea PRIMARY KEY CHECK (octet_length(packet_hash) = 32),
    rid_hash bytea NOT NULL CHECK (octet_length(rid_hash) = 32),
    process text NOT NULL,
    reference text NOT NULL,
    checksum bytea NOT NULL CHECK (octet_length(checksum) = 32),
    size bigint NOT NULL CHECK (size > 0),
    supervisor_status text NOT NULL CHECK (supervisor_status IN ('APPROVED', 'REJECTED')),
    language text NOT NULL,
    version bigint NOT NULL,
    rid_box bytea NOT NULL,
    synced_at timestamptz NOT NULL
);
CREATE INDEX ON registration.sync (rid_hash);

-- One row per registration and process: where its packet stands.
CREATE TABLE registration.registration (
    workflow_id uuid PRIMARY KEY,
    rid_hash bytea NOT NULL CHECK (octet_length(rid_hash) = 32),
    packet_hash bytea NOT NULL REFERENCES registration.sync,
    process text NOT NULL,
    object_name text NOT NULL,
    checksum bytea NOT NULL CHECK (octet_length(checksum) = 32),
    status text NOT NULL,
    latest_type text NOT NULL,
    latest_status text NOT NULL,
    latest_at timestamptz NOT NULL,
    stage text NOT NULL,
    last_success_stage text,
    retry_count integer NOT NULL DEFAULT 0,
    received_at timestamptz NOT NULL,
    UNIQUE (rid_hash, process)
) WITH (fillfactor = 70);
CREATE INDEX ON registration.registration (packet_hash);

-- Every step of every registration by its standard names, in order.
CREATE TABLE registration.transaction (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id uuid NOT NULL,
    workflow_id uuid NOT NULL REFERENCES registration.registration,
    type text NOT NULL,
    status text NOT NULL,
    sub_status text NOT NULL,
    comment text NOT NULL,
    at timestamptz NOT NULL
);
CREATE INDEX ON registration.transaction (workflow_id, seq);

-- Packets that wait for, or are under, processing. `due_at` is when one may be taken: while leased, the end of the
-- lease. `holder` is the session that took it: when that is gone, so is the worker, and the packet is due at once.
-- `lease` fences: a result counts only under the lease that it was worked out under.
CREATE SEQUENCE registration.lease;
CREATE TABLE registration.work (
    workflow_id uuid PRIMARY KEY REFERENCES registration.registration,
    due_at timestamptz NOT NULL,
    lease bigint NOT NULL,
    holder int,
    failures integer NOT NULL DEFAULT 0
) WITH (fillfactor = 70);
CREATE INDEX ON registration.work (due_at);

-- Registrations that have a UIN or are on their way to one, in the order in which they must be compared: each against
-- those before it. Finger templates only, sealed. A face never comes here.
CREATE TABLE registration.candidate (
    workflow_id uuid PRIMARY KEY REFERENCES registration.registration,
    seq bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    fingers_box bytea NOT NULL
);

-- Keyed hashes of (name, birth date, gender) per language.
CREATE TABLE registration.demographic (
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    workflow_id uuid NOT NULL REFERENCES registration.candidate ON DELETE CASCADE,
    PRIMARY KEY (digest, workflow_id)
);
CREATE INDEX ON registration.demographic (workflow_id);

-- Possible duplicates that wait for a human decision.
CREATE TABLE registration.adjudication (
    workflow_id uuid NOT NULL REFERENCES registration.registration,
    matched_id uuid NOT NULL REFERENCES registration.registration,
    type text NOT NULL,
    status text NOT NULL DEFAULT 'PENDING',
    at timestamptz NOT NULL,
    PRIMARY KEY (workflow_id, matched_id)
);

GRANT USAGE ON SCHEMA registration TO civium_ctx_registration;
GRANT SELECT, INSERT, UPDATE ON registration.sync, registration.registration TO civium_ctx_registration;
GRANT SELECT, INSERT ON registration.transaction TO civium_ctx_registration;
GRANT SELECT, INSERT, UPDATE, DELETE ON registration.work, registration.adjudication TO civium_ctx_registration;
GRANT SELECT, INSERT, DELETE ON registration.candidate, registration.demographic TO civium_ctx_registration;
GRANT USAGE ON SEQUENCE registration.lease TO civium_ctx_registration;

-- migrate:down
