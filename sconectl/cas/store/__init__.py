"""The durable memory of a CAS: sessions, values, tags, audit log; quotas and health."""
