"""The values of secrets: generated, formatted, issued, renewed."""
