"""From a `cas_url` to a CAS that can be talked to.

In: the address, the directories of client and embedded CAS, optionally the expected key and attestation flags. Out: a
`SessionStore`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from sconectl.errors import CasNotTrusted, Refused, UsageError
from sconectl.ports import SessionStore

LOCAL = "local"
_REQUIRE = "SCONECTL_REQUIRE"


def connect(
    cas_url: str,
    *,
    config_dir: Path,
    data_dir: Path,
    cas_key: str | None = None,
    tolerance: str | None = None,
    identity_file: Path | None = None,
    notify: Callable[[str], None] | None = None,
) -> SessionStore:
    """Return the CAS at `cas_url`: `local`, or `[https://]host[:port]`, whose key must be `cas_key` or the pinned one.

    `tolerance` holds flags of `cas attest`; `identity_file` another identity than that of `config_dir`. `notify` gets
    a line when a key is pinned, and one about the simulation.
    Raises `Refused` if SCONECTL_REQUIRE demands hardware, `UsageError` for unknown flags, `CasUnreachable`,
    `CasNotTrusted` and other `CasError`s.
    """
    from sconectl.cas.client.identity import CasConfig
    from sconectl.cas.client.tolerance import judge, parse
    from sconectl.cas.client.trust import own_evidence

    demanded = parse(tolerance or "")
    refuse_simulation(cas_url)  # nothing else can be identified in this version
    config = CasConfig(config_dir, identity_file)
    if cas_url == LOCAL:
        from sconectl.cas.local import LocalCas

        local = LocalCas(data_dir, config, notify=notify)
        if cas_key is not None and cas_key != local.cas_key:
            raise CasNotTrusted(
                f"the embedded CAS in {data_dir} has the key {local.cas_key}, not the expected {cas_key}",
                hint="correct the expected key, or use the directory of the CAS that was meant",
            )
        if refusals := judge(demanded, own_evidence(local.chain_pem, local.encryption_key())):
            raise CasNotTrusted(
                f"the embedded CAS in {data_dir} is not trustworthy: " + "; ".join(refusals),
                hint="correct the attestation flags (`tolerance`), or use the CAS that they describe",
            )
        return local
    from sconectl.cas.client.http_cas import HttpCas

    store = HttpCas(cas_url, config, cas_key=cas_key, tolerance=demanded, notify=notify)
    if notify is not None:
        notify(f"warning: the CAS {store.address} is a simulation; no hardware protects what it keeps")
    return store


def requires_hardware() -> bool:
    """Say whether SCONECTL_REQUIRE demands hardware. Raises `UsageError` for other demands: nobody would heed them."""
    demand = os.environ.get(_REQUIRE, "")
    if demand not in ("", "hardware"):
        raise UsageError(f"{_REQUIRE} demands what is not known", hint=f"set {_REQUIRE}=hardware, or unset it")
    return demand == "hardware"


def refuse_simulation(address: str) -> None:
    """Raise `Refused` for a simulated CAS if SCONECTL_REQUIRE demands hardware."""
    if requires_hardware():
        raise Refused(
            f"the CAS {address} is a simulation, and {_REQUIRE}=hardware forbids that",
            hint="use a CAS that hardware protects",
        )
