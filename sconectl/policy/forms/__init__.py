"""The forms of single values in a session: names, durations, placeholders, PEM texts, field types."""
