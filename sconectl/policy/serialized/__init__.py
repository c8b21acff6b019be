"""Sessions as text and JSON: canonical form and hash, reading back, older languages."""
