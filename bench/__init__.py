"""Measurements against this machine's own limits: ``python -m bench [area ...]``."""
