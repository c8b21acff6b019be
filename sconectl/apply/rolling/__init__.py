"""Sessions with two versions of a service, and the way back to the version before."""
