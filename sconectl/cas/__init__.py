"""The CAS: a client for remote ones, and an embedded one (in-process or as a server) that enforces `policy`.

In: session texts and quotes. Out: hashes, read-back texts, and configurations for attested programs. The embedded
CAS is a simulation: its protocol, cryptography and access control are real, its root of trust is a file.
"""
