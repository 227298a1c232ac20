"""Byte formats of the platform (keys-and-crypto): pure functions that need public keys or session keys only."""
