"""Looks at a program, and writes starter manifests for it (`sconectl init`)."""
