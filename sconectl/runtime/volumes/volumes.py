"""What the launcher does for a program with volumes: opens them, and says what supervises the program.

In: settings, enclave and configuration of the start, the link to the CAS. Out: a function that stays with the program.
"""

from __future__ import annotations

from functools import partial

from sconectl.runtime.configuration import Configuration, Host
from sconectl.runtime.enclave import Enclave
from sconectl.runtime.launcher import DEFAULT_CAS
from sconectl.runtime.link import CasLink
from sconectl.runtime.settings import Settings, seconds_of
from sconectl.runtime.start import Supervise
from sconectl.runtime.volumes.attested_cas import AttestedCas, Attester
from sconectl.runtime.volumes.mounting import open_volumes
from sconectl.runtime.volumes.supervisor import supervise
from sconectl.runtime.volumes.tags import DEFAULT_PATIENCE


def with_volumes(settings: Settings, enclave: Enclave, config: Configuration, cas: CasLink) -> Supervise | None:
    """Open the volumes; see `launcher.OpenVolumes`. Raises `LaunchRefused`."""
    patience = seconds_of("SCONE_VOLUME_TIMEOUT", settings.volume_timeout, DEFAULT_PATIENCE)
    attester = Attester(
        cas_address=settings.cas_address or DEFAULT_CAS,
        cas_key=settings.cas_key,
        las_address=settings.las_address,
        config_id=settings.config_id,
        identity=enclave.identity(),
        access_token=settings.access_token,
        host=Host(settings.arguments, settings.environment),
    )
    opened = open_volumes(config.volumes, enclave.parameters, AttestedCas(attester, cas, config.volumes), patience)
    return partial(supervise, opened) if opened else None
