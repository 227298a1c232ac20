"""Civium: an open national identity platform."""
