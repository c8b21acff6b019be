"""The REST interface of the embedded CAS, and the TLS server under it."""
