"""Files of a CAS: private, sealed, used by one process at a time."""
