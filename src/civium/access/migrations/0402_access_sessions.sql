-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

-- Failed log-ins are counted for names and for network addresses: `key_hash` is the keyed hash of either.
ALTER TABLE access.failed_login RENAME COLUMN name_hash TO key_hash;
ALTER TABLE access.failed_login ADD COLUMN last_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE access.failed_login ALTER COLUMN last_at DROP DEFAULT;

-- A user's sessions. The one refresh token that is good carries `generation`; the box holds user and client.
CREATE TABLE access.session (
    id uuid PRIMARY KEY,
    name_hash bytea NOT NULL CHECK (length(name_hash) = 32),
    generation integer NOT NULL,
    box bytea NOT NULL,
    idle_until timestamptz NOT NULL,
    ends_at timestamptz NOT NULL
);
CREATE INDEX session_account ON access.session (name_hash);
CREATE INDEX session_expiry ON access.session (idle_until);

-- Client assertions that were used; `id_hash` is the keyed hash of client and jti.
CREATE TABLE access.used_assertion (
    id_hash bytea PRIMARY KEY CHECK (length(id_hash) = 32),
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_assertion_expiry ON access.used_assertion (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON access.session TO civium_ctx_access;
GRANT SELECT, INSERT, DELETE ON access.used_assertion TO civium_ctx_access;

-- migrate:down
