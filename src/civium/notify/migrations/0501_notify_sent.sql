-- migrate:up
SET lock_timeout = '4s';
SET statement_timeout = '5s';

CREATE SCHEMA notify;

-- Which channels of an event have been served: nothing of the message itself.
CREATE TABLE notify.sent (
    event_id uuid NOT NULL,
    channel text NOT NULL CHECK (channel IN ('email', 'sms')),
    at timestamptz NOT NULL,
    PRIMARY KEY (event_id, channel)
);
CREATE INDEX sent_at ON notify.sent (at);

GRANT USAGE ON SCHEMA notify TO civium_ctx_notify;
GRANT SELECT, INSERT, DELETE ON notify.sent TO civium_ctx_notify;

-- migrate:down
