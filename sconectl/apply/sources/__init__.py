"""The files of a manifest's directory: found, digested, and the wheels that they ask for."""
