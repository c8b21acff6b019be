"""What `apply`, `plan` and `validate` have in common."""
