"""The entry point of every simulated confidential image.

In: the settings of the container. Out: the program, started with what the CAS sends and nothing else. Arguments are
ignored. Exits with 125 if it refuses.
"""

from __future__ import annotations

import os
from typing import NoReturn

from sconectl.runtime import log
from sconectl.runtime.attest import CasLink, fetch_configuration, open_channel
from sconectl.runtime.enclave import Enclave, measure
from sconectl.runtime.files import bring_in
from sconectl.runtime.log import LaunchRefused
from sconectl.runtime.settings import Settings
from sconectl.runtime.start import find_program, start

EXIT_REFUSED = 125
DEFAULT_CAS = "cas"
DEFAULT_PATIENCE = 60.0
_CALL_TIMEOUT = 20.0
_SHOWN_CHANGES = 20


def main(settings: Settings) -> NoReturn:
    """Attest, then run the program; never returns."""
    log.configure(settings.log_level)
    log.always("SIMULATION: this enclave is not protected by hardware; see docs/simulation.md of sconectl")
    try:
        _run(settings)
    except LaunchRefused as error:
        log.refused(error)
    os._exit(EXIT_REFUSED)


def _run(settings: Settings) -> NoReturn:
    _check(settings)
    enclave = measure()
    log.write("INFO", f"Enclave hash: {enclave.found}")
    _refuse_changes(enclave)
    address = settings.cas_address or DEFAULT_CAS
    channel = open_channel()
    cas = CasLink(address, settings.cas_key, channel, timeout=_CALL_TIMEOUT)
    las = CasLink(settings.las_address, "", channel, timeout=_CALL_TIMEOUT) if settings.las_address else cas
    log.write("INFO", f"Connecting to CAS at {address} using service ID {settings.config_id}")
    config = fetch_configuration(
        cas,
        las,
        channel,
        config_id=settings.config_id,
        measurement=enclave.found,
        debug=enclave.debug,
        patience=_patience(settings.timeout),
    )
    bring_in(config, enclave.index)
    program = find_program(config, enclave.index)
    log.write("INFO", f"attested as service {config.service} of session {config.session}")
    start(config, program)


def _check(settings: Settings) -> None:
    if settings.loader_variables:
        raise LaunchRefused(
            f"the container sets {', '.join(settings.loader_variables)}, which would change the launcher"
        )
    config_id = settings.config_id
    if config_id.count("/") < 1 or config_id.startswith("/") or config_id.endswith("/"):
        raise LaunchRefused(
            f"SCONE_CONFIG_ID is malformed: {config_id!r}" if config_id else "SCONE_CONFIG_ID is missing",
            causes=("set it to <namespace>/<session>/<service>, as the generated chart does",),
        )


def _patience(text: str) -> float:
    try:
        return max(0.0, float(text)) if text else DEFAULT_PATIENCE
    except ValueError as error:
        raise LaunchRefused(f"SCONE_ATTEST_TIMEOUT is not a number of seconds: {text!r}") from error


def _refuse_changes(enclave: Enclave) -> None:
    """Refuse an image that differs from its own index; what it was replaced with as a whole, the CAS notices."""
    if not enclave.changes:
        return
    shown = [str(change) for change in enclave.changes[:_SHOWN_CHANGES]]
    if len(enclave.changes) > _SHOWN_CHANGES:
        shown.append(f"… and {len(enclave.changes) - _SHOWN_CHANGES} more")
    raise LaunchRefused(
        "the image was changed after it was built",
        causes=(
            f"Unexpected enclave measurement (MRENCLAVE, {enclave.found}) - Expected {enclave.expected}",
            *shown,
        ),
    )
