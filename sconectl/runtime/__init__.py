"""What runs inside a simulated enclave: measure, attest, fetch the configuration, open files, start the program.

Imports the standard library, `cryptography` and `sconectl.protect` only: it is copied into every image.
"""
