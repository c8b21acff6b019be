"""Placeholders of manifests, and slips of the pen: names and texts that may have been meant."""
