"""Keeping a CAS: backups, and verifying the audit log of one on this machine."""
