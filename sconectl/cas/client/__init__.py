"""The client of any CAS: trust, identity, requests. Knows nothing of the embedded CAS."""
