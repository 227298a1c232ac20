"""Credential requests and issuing: the auth credential, cards, verifiable credentials."""
