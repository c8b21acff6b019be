"""Tests of stage 1: YAML text to validated manifests."""
