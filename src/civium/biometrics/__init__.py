"""CBEFF, ISO/IEC 19794, quality, extraction and matching."""
