"""Two versions of a service in one session, while the pods of one take the place of those of the other."""
