"""From a `cas_url` to a CAS that can be talked to.

In: the address, the directories of client and embedded CAS, optionally the expected key. Out: a `SessionStore`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sconectl.errors import CasNotTrusted
from sconectl.ports import SessionStore

LOCAL = "local"


def connect(
    cas_url: str,
    *,
    config_dir: Path,
    data_dir: Path,
    cas_key: str | None = None,
    notify: Callable[[str], None] | None = None,
) -> SessionStore:
    """Return the CAS at `cas_url`: `local`, or `[https://]host[:port]`, whose key must be `cas_key` or the pinned one.

    `notify` gets a line when a key is pinned. Raises `CasUnreachable`, `CasNotTrusted` and other `CasError`s.
    """
    from sconectl.cas.identity import CasConfig

    config = CasConfig(config_dir)
    if cas_url == LOCAL:
        from sconectl.cas.local import LocalCas

        local = LocalCas(data_dir, config.identity())
        if cas_key is not None and cas_key != local.cas_key:
            raise CasNotTrusted(
                f"the embedded CAS in {data_dir} has the key {local.cas_key}, not the expected {cas_key}",
                hint="correct the expected key, or use the directory of the CAS that was meant",
            )
        return local
    from sconectl.cas.client import HttpCas

    return HttpCas(cas_url, config, cas_key=cas_key, notify=notify)
