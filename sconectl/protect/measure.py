"""The measurement of a simulated enclave: one value for launcher, protected root and enclave parameters.

It stands where MRENCLAVE stands on hardware: 32 bytes, written as 64 lower-case hex digits. Mode, product and security
version are not in it: the signature vouches for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from sconectl.protect.index import Index
from sconectl.protect.live import scan

LAUNCHER_ROOT = "/scone"
IMAGE_DIR = "image"
"""Below /scone: the files of one image (index, parameters, sealed files)."""
MEMORY_DIR, VOLUMES_DIR = "memory", "volumes"
"""Below /scone: where memory and the storage of volumes are mounted."""
NOT_LAUNCHER = (f"/{IMAGE_DIR}", f"/{MEMORY_DIR}", f"/{VOLUMES_DIR}")
"""What is below /scone and not part of the launcher; everything else there is."""
SIGNATURE = "sigstruct.bin"
"""The signature of the enclave, in that directory."""

UNMEASURED = frozenset({"mode", "isvprodid", "isvsvn"})
"""Parameters that are signed instead. All others count, also those that this version does not know."""


def measurement(*, launcher: str, root: str, parameters: Mapping[str, str]) -> str:
    """Return the measurement of an enclave.

    `launcher` and `root` are the digests of the launcher's files and of the file index; `parameters` are the
    enclave parameters (heap, stack, dlopen, …) as text, of which the unmeasured ones make no difference.
    """
    document = {
        "format": "sconectl-sim-measurement-2",
        "launcher": launcher,
        "root": root,
        "parameters": {name: value for name, value in parameters.items() if name not in UNMEASURED},
    }
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def launcher_index(directory: str) -> Index:
    """Index the launcher's own files in `directory` (in an image: /scone), without those of image and volumes."""
    nothing_expected = Index(outside=NOT_LAUNCHER, sealed=(), entries={})
    return scan(directory, nothing_expected).index
