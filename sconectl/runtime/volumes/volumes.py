"""What the launcher does for a program with volumes: opens them, and says what supervises the program.

In: settings, enclave and configuration of the start, the link to the CAS. Out: a function that stays with the program.
"""

from __future__ import annotations

from functools import partial

from sconectl.runtime.configuration import Configuration
from sconectl.runtime.enclave import Enclave
from sconectl.runtime.launcher import attester
from sconectl.runtime.link import CasLink
from sconectl.runtime.settings import Settings, seconds_of
from sconectl.runtime.start import Supervise
from sconectl.runtime.volumes.attested_cas import AttestedCas
from sconectl.runtime.volumes.mounting import open_volumes
from sconectl.runtime.volumes.supervisor import supervise
from sconectl.runtime.volumes.tags import DEFAULT_PATIENCE


def with_volumes(settings: Settings, enclave: Enclave, config: Configuration, cas: CasLink) -> Supervise | None:
    """Open the volumes; see `launcher.Extras`. Raises `LaunchRefused`."""
    patience = seconds_of("SCONE_VOLUME_TIMEOUT", settings.volume_timeout, DEFAULT_PATIENCE)
    asked = AttestedCas(attester(settings, enclave), cas, config.volumes)
    opened = open_volumes(config.volumes, enclave.parameters, asked, patience)
    return partial(supervise, opened) if opened else None
