-- migrate:up
SET lock_timeout='4s';
SET statement_timeout='5s';

-- Sealed anew under new keys; nothing else about a candidate ever changes.
GRANT UPDATE (fingers_box) ON registration.candidate TO civium_ctx_registration;

-- migrate:down
