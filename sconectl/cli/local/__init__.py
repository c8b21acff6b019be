"""The commands that run a mesh on one machine."""
