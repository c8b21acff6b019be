"""Finds the program of an image and what it needs, without running it."""
