"""The entry point of every simulated confidential image.

In: the settings of the container. Out: the program, started with what the CAS sends and nothing else. Arguments and
environment of the container are ignored, but for those that the policy names. Exits with 125 if it refuses.
"""

from __future__ import annotations

import gc
import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from sconectl.runtime import log
from sconectl.runtime.attest import Attester, fetch_configuration, fill_file
from sconectl.runtime.configuration import Configuration, Host
from sconectl.runtime.enclave import Enclave, measure
from sconectl.runtime.files import Given, bring_in
from sconectl.runtime.health import health_command
from sconectl.runtime.link import CasLink, at_most, open_channel
from sconectl.runtime.log import EXIT_REFUSED, LaunchRefused
from sconectl.runtime.settings import Settings, seconds_of
from sconectl.runtime.start import Supervise, execute, find_program, start

DEFAULT_CAS = "cas"
DEFAULT_PATIENCE = 60.0
_CALL_TIMEOUT = 20.0
_SHOWN_CHANGES = 20


@dataclass(frozen=True)
class Extras:
    """What few programs need: it is loaded only for them.

    `open_volumes` opens the volumes of a program, and returns what supervises it; None if nothing of them is kept.
    `renew` starts what renews the files with these contents while the program runs, and returns what lets it begin.
    """

    open_volumes: Callable[[Settings, Enclave, Configuration, CasLink], Supervise | None]
    renew: Callable[[Attester, Enclave, Configuration, Given], Callable[[], None] | None]


def main(settings: Settings, extras: Extras) -> NoReturn:
    """Attest, then run the program; never returns."""
    log.configure(settings.log_level)
    log.always("SIMULATION: this enclave is not protected by hardware; see docs/simulation.md of sconectl")
    try:
        _prepare_process()
        _run(settings, extras)
    except LaunchRefused as error:
        log.refused(error)
    except Exception as error:
        log.write("FATAL", f"The program is not started: {log.place_of(error)}; this is a bug of sconectl")
    os._exit(EXIT_REFUSED)


def _prepare_process() -> None:
    """End at once at a signal, and never write memory to disk, not even the program's: it will hold secrets."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda received, _frame: os._exit(128 + received))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    gc.disable()  # there is little garbage, and the program is started soon
    os.umask(0o022)


def _run(settings: Settings, extras: Extras) -> NoReturn:
    _check(settings)
    patience = seconds_of("SCONE_ATTEST_TIMEOUT", settings.timeout, DEFAULT_PATIENCE)
    enclave = measure()
    log.write("INFO", f"Enclave hash: {enclave.found}")
    _refuse_changes(enclave)
    address = settings.cas_address or DEFAULT_CAS
    channel = open_channel()
    cas = CasLink(address, settings.cas_key, channel, timeout=_CALL_TIMEOUT)
    las = cas
    if settings.las_address:
        las = CasLink(settings.las_address, "", channel, timeout=_CALL_TIMEOUT, who="LAS (quoting)")
    log.write("INFO", f"Connecting to CAS at {address} using service ID {settings.config_id}")
    with at_most(patience + _CALL_TIMEOUT):
        config = fetch_configuration(
            cas,
            las,
            channel,
            config_id=settings.config_id,
            identity=enclave.identity(),
            access_token=settings.access_token,
            host=Host(settings.arguments, settings.environment),
            patience=patience,
        )

    given = Given(config)

    def fill(path: str, content: bytes) -> bytes:
        with at_most(patience + _CALL_TIMEOUT):
            return given.filled(path, content, *fill_file(cas, path, content, patience=patience))

    bring_in(config, enclave.index, fill)
    las.close()
    program = find_program(config, enclave.index)
    log.write("INFO", f"attested as service {config.service} of session {config.session}")
    health = _health(enclave, config)
    begin = None if given.renew_in is None else extras.renew(attester(settings, enclave), enclave, config, given)
    supervise = extras.open_volumes(settings, enclave, config, cas) if config.volumes else None
    if supervise is None:
        cas.close()
    start(config, program, health, supervise, begin)


def attester(settings: Settings, enclave: Enclave) -> Attester:
    """Return what this launcher attests with, again if need be."""
    return Attester(
        cas_address=settings.cas_address or DEFAULT_CAS,
        cas_key=settings.cas_key,
        las_address=settings.las_address,
        config_id=settings.config_id,
        identity=enclave.identity(),
        access_token=settings.access_token,
        host=Host(settings.arguments, settings.environment),
    )


def _health(enclave: Enclave, config: Configuration) -> Callable[[], NoReturn] | None:
    """Return the function that becomes the measured health command of the image, with the program's environment."""
    words = health_command(enclave.parameters)
    if not words:
        return None
    command = replace(config, argv=words)
    try:
        program = find_program(command, enclave.index)
    except LaunchRefused as error:  # unhealthy, as the native image would be
        message = f"[SCONE|ERROR] The health command is not run: {error.message}\n".encode()
        log.write("WARNING", f"the health command is not run: {error.message}")

        def refuse() -> NoReturn:
            os.write(2, message)
            os._exit(EXIT_REFUSED)

        return refuse
    return lambda: execute(command, program)


def _check(settings: Settings) -> None:
    if settings.loader_variables:
        raise LaunchRefused(
            f"the container sets {', '.join(settings.loader_variables)}, which would change the launcher"
        )
    config_id = settings.config_id
    if config_id.count("/") < 1 or config_id.startswith("/") or config_id.endswith("/"):
        causes = ["set it to <namespace>/<service>/<program>, as the generated chart does"]
        if not config_id and any("SCONE_CONFIG_ID" in argument for argument in settings.arguments):
            causes += [
                "the arguments of the container set it, but they are not run: the policy says what is run",
                "set it for the container: docker run -e SCONE_CONFIG_ID=…, `environment:` in docker-compose.yml",
            ]
        raise LaunchRefused(
            f"SCONE_CONFIG_ID is malformed: {config_id!r}" if config_id else "SCONE_CONFIG_ID is missing",
            causes=tuple(causes),
        )


def _refuse_changes(enclave: Enclave) -> None:
    """Refuse an image that differs from its own index; if the index was replaced, too, the CAS notices that."""
    if not enclave.changes:
        if enclave.unread:
            log.write(
                "INFO",
                f"user {os.geteuid()} cannot get at {enclave.unread} protected files and directories, nor can the "
                "program: it gains no privileges (no_new_privs)",
            )
        return
    shown = [str(change) for change in enclave.changes[:_SHOWN_CHANGES]]
    if len(enclave.changes) > _SHOWN_CHANGES:
        shown.append(f"… and {len(enclave.changes) - _SHOWN_CHANGES} more")
    unreadable = [change.kind == "unreadable" for change in enclave.changes]
    if any(unreadable):
        shown += _how_to_read(enclave)
    if all(unreadable):
        raise LaunchRefused("protected files cannot be read, and so not verified", causes=tuple(shown))
    raise LaunchRefused(
        "the image was changed after it was built",
        causes=(
            f"Unexpected enclave measurement (MRENCLAVE, {enclave.found}) - Expected {enclave.expected}",
            *shown,
        ),
    )


def _how_to_read(enclave: Enclave) -> list[str]:
    """Say why unreadable files are not believed, and what the container needs."""
    user = f"the container runs as user {os.geteuid()}"
    if enclave.obstacles:
        return [
            f"{user}, and the program could get at these files later: {'; '.join(enclave.obstacles)}",
            "give the container DAC_OVERRIDE, too (docker run --cap-add, capabilities.add in Kubernetes),",
            "or take all capabilities from it (--cap-drop ALL), if the program does not change its user",
        ]
    return [
        f"{user}, which can run, enter or own what it cannot read: the program could use it unverified",
        "make these files readable for that user when the image is built,",
        "or start the container as root with DAC_OVERRIDE, which is among Docker's default capabilities",
    ]
