"""Programs attest and get their configuration; tags and volumes."""
