"""From the text of a manifest to its model: variables, older spellings, `--set`, validation."""
