"""Virtual IDs: what a person shows instead of the UIN (id-repository-and-commons section 2)."""
