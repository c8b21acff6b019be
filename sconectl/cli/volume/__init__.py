"""The commands about volumes, for their owners."""
