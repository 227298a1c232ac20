"""Shared IO of every context: settings, PostgreSQL, outbox, object store, HTTP, caller tokens, sealing, telemetry."""
