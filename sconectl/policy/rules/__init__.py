"""The rules that a session has to keep, and the findings about broken ones."""
