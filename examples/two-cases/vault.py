"""Shows the checksum of a password that it got from its CAS, and which CASes it depends on."""

import hashlib
import os

password = os.environ["VAULT_PASSWORD"]
print(f"The checksum of the password is '{hashlib.sha256(password.encode()).hexdigest()[:16]}'.")
print(f"The CAS of the application is {os.environ['KEEPER']}, that of the publisher {os.environ['PUBLISHER']}.")
