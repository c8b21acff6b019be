"""Prints the variables that it got, one a line, and of a secret its length and a checksum only."""

import hashlib
import os

for name in ("STYLE", "PRICE", "AUTHOR", "GREETING", "WHOM", "LEVEL", "MOTTO", "PATH"):
    print(f"{name} = {os.environ.get(name, '(missing)')}")
token = os.environ["TOKEN"]
print(f"TOKEN = {len(token)} characters with the checksum {hashlib.sha256(token.encode()).hexdigest()[:16]}")
print(f"EXTRA = {os.environ.get('EXTRA', '(missing)')}")
