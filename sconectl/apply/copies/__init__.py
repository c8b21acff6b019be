"""Copies of images: where a mesh wants them (`repo`), in one layer if it says so, signed by a program of its choice."""
