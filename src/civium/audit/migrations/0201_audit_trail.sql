-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA audit;

-- One row per act, never changed: the context's role may add and read only. `digest` covers `previous`, so that a
-- change of any row breaks every later one.
CREATE TABLE audit.record (
    seq bigint PRIMARY KEY,
    event_id uuid NOT NULL UNIQUE,
    content text NOT NULL,
    previous bytea NOT NULL CHECK (length(previous) = 32),
    digest bytea NOT NULL CHECK (length(digest) = 32)
);

-- The last link, under a key that the database does not know: a trail that was cut or rewritten does not fit it.
CREATE TABLE audit.head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    seq bigint NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    mac bytea CHECK (length(mac) = 32)
);
INSERT INTO audit.head (seq, digest) VALUES (0, decode(repeat('00', 32), 'hex'));

GRANT USAGE ON SCHEMA audit TO civium_ctx_audit;
GRANT SELECT, INSERT ON audit.record TO civium_ctx_audit;
GRANT SELECT, UPDATE ON audit.head TO civium_ctx_audit;

-- migrate:down
