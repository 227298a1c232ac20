from identity_fixtures import identity_clock, subject

__all__ = ["identity_clock", "subject"]
