"""Starts the launcher; the environment is taken and emptied before anything else is imported."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sconectl.runtime.settings import Settings, take_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from sconectl.runtime.attest import Attester
    from sconectl.runtime.configuration import Configuration
    from sconectl.runtime.enclave import Enclave
    from sconectl.runtime.files import Given
    from sconectl.runtime.link import CasLink
    from sconectl.runtime.start import Supervise

settings = take_settings(os.environ, sys.argv[1:])
os.environ["OPENSSL_CONF"] = "/dev/null"  # else the image's own openssl.cnf would choose what the launcher loads

try:
    from sconectl.runtime.launcher import Extras, main
except Exception as error:  # a damaged launcher must not look like a program that failed
    os.write(2, f"[SCONE|FATAL] The launcher is damaged: {type(error).__name__}\n".encode())
    os._exit(125)


def open_volumes(settings: Settings, enclave: Enclave, config: Configuration, cas: CasLink) -> Supervise | None:
    """Open the volumes of a program; few programs have any."""
    from sconectl.runtime.volumes.volumes import with_volumes

    return with_volumes(settings, enclave, config, cas)


def renew(known: Attester, enclave: Enclave, config: Configuration, given: Given) -> Callable[[], None] | None:
    """Renew the files of a program while it runs; few programs have certificates that end."""
    from sconectl.runtime.renewal.renewing import start_renewing

    return start_renewing(known, enclave, config, given)


main(settings, Extras(open_volumes, renew))
