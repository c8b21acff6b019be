"""What `apply`, `plan` and `validate` give to the use cases: options as plain values, and the adapters of the run."""
