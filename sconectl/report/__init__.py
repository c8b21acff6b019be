"""Plans in words, for people."""
