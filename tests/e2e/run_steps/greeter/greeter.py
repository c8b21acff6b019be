"""Says whom it greets, and that it has what the CAS gives it."""

import os
import time
from pathlib import Path

certificates = [
    Path(f"/tls/{name}.crt").read_text().startswith("-----BEGIN CERTIFICATE") for name in ("cache", "cache-ca")
]
print("Hello", os.environ["WHOM"], os.environ["PRICE"], len(os.environ["PASSWORD"]), certificates, flush=True)
time.sleep(600)
