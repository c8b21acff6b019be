"""The session language 0.3.x: models, rules, placeholders, canonical form and hash.

Pure: text and values in, values and findings out. Used by the compiler, which writes sessions, and by the CAS,
which enforces them.
"""
