"""The project configuration file `sconectl.toml`: searched from the current directory upwards.

In: a directory. Out: settings, or `UsageError` for a file that cannot be used.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sconectl.errors import UsageError
from sconectl.plan.service.base_images import check_kinds
from sconectl.regular_files import first_bytes

NAME = "sconectl.toml"
_MAX_BYTES = 1 << 20
_CURATED = "curated"
_LOCAL = "local"
_TABLES = {
    "base_images": None,
    "build": {"ca_bundle"},
    "cas": {"image"},
    "cas_addresses": None,
    "launcher": {"base_image"},
    "sign": {"command"},
    "trust": {"signers"},
}
_MRSIGNER = re.compile("[0-9A-Fa-f]{64}")


@dataclass(frozen=True)
class ProjectConfig:
    """Settings of a project; empty where nothing is configured."""

    base_images: dict[str, str] = field(default_factory=dict)
    ca_bundle: str = ""
    image_cas: str = ""
    launcher_base: str = ""
    signers: tuple[str, ...] = ()
    sign_command: tuple[str, ...] = ()
    """The command that signs copies of images; empty for cosign."""
    curated: tuple[Path, ...] = ()
    """Directories of curated services."""
    cas_addresses: dict[str, str] = field(default_factory=dict)
    """Where CASes are reached from here, by the HOST:PORT that manifests and pods know."""

    def reached(self, cas_url: str) -> str:
        """Return where a CAS is reached from here. Raises `UsageError` for an address that is none."""
        return self.cas_addresses.get(_address(cas_url), cas_url) if self.cas_addresses else cas_url


def load_config(start: Path) -> ProjectConfig:
    """Read the nearest configuration file. Raises `UsageError`."""
    for directory in (start, *start.parents):
        file = directory / NAME
        if os.path.lexists(file):
            return _read(file)
    return ProjectConfig()


def _read(file: Path) -> ProjectConfig:
    import tomllib

    try:
        content = first_bytes(file, _MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UsageError(f"{file}: larger than {_MAX_BYTES} bytes", hint="it holds a few settings")
        document = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        hint = "remove it, or put a file with settings there"
        raise UsageError(f"{file} cannot be read: {error.strerror}", hint=hint) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from error
    curated = _directories(file, document.pop(_CURATED, []))
    _check(file, document)
    check_kinds(document.get("base_images", {}), f"{file}: [base_images]")
    bundle = document.get("build", {}).get("ca_bundle", "")
    return ProjectConfig(
        base_images=document.get("base_images", {}),
        ca_bundle=str(file.parent / bundle) if bundle else "",
        image_cas=document.get("cas", {}).get("image", ""),
        launcher_base=document.get("launcher", {}).get("base_image", ""),
        sign_command=tuple(document.get("sign", {}).get("command", ())),
        signers=tuple(signer.lower() for signer in document.get("trust", {}).get("signers", ())),
        curated=curated,
        cas_addresses=_addresses(file, document.get("cas_addresses", {})),
    )


def _directories(file: Path, value: Any) -> tuple[Path, ...]:
    if not isinstance(value, list) or not all(isinstance(entry, str) and entry for entry in value):
        hint = f'write {_CURATED} = ["./curated"] in front of all tables'
        raise UsageError(f"{file}: {_CURATED} is a list of directories", hint=hint)
    return tuple(file.parent / entry for entry in value)


def _addresses(file: Path, table: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    try:
        for given, place in table.items():
            known = found.setdefault(_address(given), _address(place))
            if known != _address(place):
                raise UsageError(f"{given} is there already, with another place", hint="keep one of them")
    except UsageError as error:
        raise UsageError(f"{file}: [cas_addresses]: {error.message}", hint=error.hint) from None
    return found


def _address(cas_url: str) -> str:
    if cas_url == _LOCAL:
        return cas_url
    from sconectl.cas.client.http_cas import normal_address

    return normal_address(cas_url)


def _check(file: Path, document: dict[str, Any]) -> None:
    for table, keys in document.items():
        if table not in _TABLES or not isinstance(keys, dict):
            raise UsageError(f"{file}: unknown table [{table}]", hint=f"known are {', '.join(sorted(_TABLES))}")
        known = _TABLES[table]
        for key, value in keys.items():
            if known is not None and key not in known:
                raise UsageError(f"{file}: unknown key {table}.{key}", hint=f"known are {', '.join(sorted(known))}")
            if (table, key) == ("trust", "signers"):
                _check_signers(file, value)
            elif (table, key) == ("sign", "command"):
                if not isinstance(value, list) or not value or not all(isinstance(word, str) for word in value):
                    hint = "a program and its arguments, in which {key} and {image} are replaced"
                    raise UsageError(f"{file}: sign.command is a list of words", hint=hint)
            elif not isinstance(value, str):
                raise UsageError(f"{file}: {table}.{key} is text")


def _check_signers(file: Path, value: Any) -> None:
    given = value if isinstance(value, list) else [value]
    if not isinstance(value, list) or not all(isinstance(one, str) and _MRSIGNER.fullmatch(one) for one in given):
        hint = "`sconectl inspect IMAGE` shows who signed an image"
        raise UsageError(f"{file}: trust.signers is a list of MRSIGNERs, 64 hex digits each", hint=hint)
