"""How the address of a CAS is written, in manifests, sessions and their schemas alike.

In: nothing. Out: patterns without anchors, which Python and JSON Schema read in the same way.
"""

from __future__ import annotations

PORT = r"(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
"""1 to 65535."""
CAS_ADDRESS = rf"(?:https://)?([A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\])(:{PORT})?/?"
"""A host, and a port or none; the groups are the host and the port with its colon."""
