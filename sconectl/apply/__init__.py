"""Stage 4: effects in order, through ports."""
