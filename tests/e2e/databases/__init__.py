"""Databases on a volume, and clients that keep a ledger of what was acknowledged to them."""
