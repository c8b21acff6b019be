"""What there is to learn about manifests and sessions, made from their models: JSON Schemas, and pages about fields."""
