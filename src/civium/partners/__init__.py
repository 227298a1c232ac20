"""Relying parties and other partners: certificates, policies, licences, API keys."""
