"""Manifests and the exact files that come of them."""
