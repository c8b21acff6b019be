"""The house rules, checked from the sources."""
