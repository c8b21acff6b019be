"""The plan for one confidential image."""
