"""The settings that the launcher takes from the (untrusted) environment of its container; the rest is dropped at once.

Imported before anything that reads the environment on its own (OpenSSL, locale), so that it cannot be steered.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

from sconectl.runtime.log import LaunchRefused

_MAX_PATIENCE = 86400.0
_LOADER_VARIABLES = ("GCONV_PATH", "GLIBC_TUNABLES", "LOCPATH")
"""These, and all that begin with LD_, steer the C library before the launcher can drop them."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings, as text; none of them reaches the program.

    Arguments and environment of the container are kept for those that the policy takes from them.
    """

    config_id: str
    cas_address: str
    las_address: str
    cas_key: str
    log_level: str
    timeout: str
    loader_variables: tuple[str, ...]
    access_token: str = field(default="", repr=False)
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    volume_timeout: str = ""


def take_settings(environ: MutableMapping[str, str], arguments: Sequence[str]) -> Settings:
    """Read the settings from `environ` and empty it; `arguments` are those of the container."""
    settings = Settings(
        config_id=environ.get("SCONE_CONFIG_ID", ""),
        cas_address=environ.get("SCONE_CAS_ADDR", ""),
        las_address=environ.get("SCONE_LAS_ADDR", ""),
        cas_key=environ.get("SCONE_CAS_KEY", ""),
        log_level=environ.get("SCONE_LOG", ""),
        timeout=environ.get("SCONE_ATTEST_TIMEOUT", ""),
        loader_variables=tuple(
            name for name, value in sorted(environ.items()) if value and name.startswith(("LD_", *_LOADER_VARIABLES))
        ),
        access_token=environ.get("SCONE_SERVICE_ACCESS_TOKEN", ""),
        arguments=tuple(arguments),
        environment=dict(environ),
        volume_timeout=environ.get("SCONE_VOLUME_TIMEOUT", ""),
    )
    environ.clear()
    return settings


def seconds_of(variable: str, text: str, default: float) -> float:
    """Return how long to be patient, as a variable of the container says; raises `LaunchRefused`."""
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= _MAX_PATIENCE:
        raise LaunchRefused(f"{variable} is not a number of seconds (at most a day): {text!r}")
    return seconds
