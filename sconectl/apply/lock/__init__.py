"""sconectl.lock: what was applied, in a file that is committed with the manifests."""
