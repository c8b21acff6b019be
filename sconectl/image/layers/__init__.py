"""Layers of images: read, indexed, laid over each other, rewritten to canonical bytes, written."""
