"""Key hierarchy, keystores, envelopes, signatures, certificates and trust."""
