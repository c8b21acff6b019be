"""Volumes: protected file systems that programs write to.

Ciphertext and index are on the storage, plain files in memory; docs/protected-filesystem.md has the format.
"""
