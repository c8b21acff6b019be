"""The rules that a session has to keep, and what is said when it does not."""
