"""Audit trail: append-only, hash-chained record of who did what, for what purpose."""
