"""The key manager over HTTP: ``/v1/keymanager`` (keys-and-crypto sections 7 and 8)."""
