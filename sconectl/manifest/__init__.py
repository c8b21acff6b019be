"""Stage 1: YAML text becomes a validated manifest, or findings with positions. Pure."""
