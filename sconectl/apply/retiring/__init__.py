"""Sessions that no service of a mesh owns any more, and how they are retired."""
