"""Curated services: ready ones that a mesh names by their images, ours and those of a project."""
