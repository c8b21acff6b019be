"""The configuration of a start, as the CAS sends it, completed by values that the policy leaves to the container.

In: the answer of the CAS, and command line and environment of the container. Out: a `Configuration`. Raises
`LaunchRefused` for what is malformed, and for everything that this launcher does not know: it may be a demand.
"""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sconectl.runtime.log import LaunchRefused

_KNOWN = frozenset(
    {"session", "service", "session_hash", "argv", "environment", "host_environment", "pwd"}
    | {"files", "fs_files", "fspf", "volumes"}
)
NO_ROLLBACK_PROTECTION = "no_rollback_protection"
EPHEMERAL = "ephemeral"
UPDATE_POLICIES = ("rollback_protected", NO_ROLLBACK_PROTECTION, EPHEMERAL)
ENCRYPTED = "encrypted"
AUTHENTICATED_ONLY = "authenticated-only"
FILES = (ENCRYPTED, AUTHENTICATED_ONLY)
_OF_A_VOLUME = frozenset({"name", "path", "key", "tag", "files", "update_policy", "source"})
_LONGEST_NAME = 255  # bytes; it is that of a directory below /scone/volumes


@dataclass(frozen=True)
class Host:
    """The arguments (the first is number 1) and environment that the container was started with."""

    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class FileSystemKey:
    """The key of the encrypted directories: `tags` are the states that the policy accepts; None: any."""

    path: str
    key: bytes = field(repr=False)
    tags: tuple[str, ...] | None


@dataclass(frozen=True)
class VolumeKey:
    """A volume as the policy mounts it: its key (32 bytes), and its state as the CAS knows it (16 bytes), if any."""

    name: str
    path: str
    key: bytes = field(repr=False)
    tag: bytes | None
    files: str
    update_policy: str


@dataclass(frozen=True)
class Configuration:
    """The policy's configuration for this service; `fs_files` (path, permission) are read from the image."""

    session: str
    service: str
    argv: tuple[str, ...] = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    pwd: str
    files: tuple[tuple[str, int, bytes], ...] = field(repr=False)
    fspf: FileSystemKey | None
    fs_files: tuple[tuple[str, int], ...] = ()
    volumes: tuple[VolumeKey, ...] = ()
    version: str = ""
    """Another one for each version of the session."""
    renew_in: int | None = None
    """Seconds until the CAS has renewed a certificate in a file; None: there is none that it renews."""


def read_configuration(document: dict[str, Any], host: Host) -> Configuration:
    """Return the configuration in the answer `document`; raises `LaunchRefused`."""
    try:
        config = document["config"]
        _refuse_unknown(config)
        if not all(isinstance(config[name], list) for name in ("argv", "files")):
            raise TypeError("not a list")
        return Configuration(
            session=_text(config["session"]),
            service=_text(config["service"]),
            argv=_arguments(config["argv"], host),
            environment=_environment(config, host),
            pwd=_absolute(config["pwd"]),
            files=tuple(_file(file) for file in config["files"]),
            fspf=_file_system_key(config["fspf"]),
            fs_files=tuple((_absolute(file["path"]), _permission(file)) for file in _list(config, "fs_files")),
            volumes=_volumes(_list(config, "volumes")),
            version=_text(document.get("version", "")),
            renew_in=renewal_of(document),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LaunchRefused("the CAS sent a configuration that this launcher does not understand") from error


def renewal_of(document: dict[str, Any]) -> int | None:
    """Return after how many seconds the files of an answer are others; raises `ValueError`."""
    seconds = document.get("renew_in")
    if seconds is not None and (type(seconds) is not int or seconds < 0):
        raise ValueError("not a time")
    return seconds


def _refuse_unknown(config: dict[str, Any]) -> None:
    unknown = sorted(config.keys() - _KNOWN)
    if unknown:
        raise _unknown(", ".join(unknown))


def _unknown(what: str) -> LaunchRefused:
    return LaunchRefused(
        "the policy may demand something that this launcher does not know",
        causes=(f"the CAS sent {what}", "build the image again with a newer sconectl"),
    )


def _list(config: dict[str, Any], name: str) -> list[Any]:
    found = config.get(name, [])
    if not isinstance(found, list):
        raise TypeError("not a list")
    return found


def _arguments(argv: list[Any], host: Host) -> tuple[str, ...]:
    """Fill in `{"host": N}`, the arguments that the policy leaves to the container; each may be used once."""
    wanted = [_host_position(word) for word in argv if isinstance(word, dict)]
    if len(wanted) != len(set(wanted)):
        raise LaunchRefused("the policy uses an argument of the container twice")
    missing = sorted(number for number in wanted if number > len(host.arguments))
    if missing:
        raise LaunchRefused(
            f"the policy takes argument {missing[-1]} of the container, but it was started with {len(host.arguments)}"
        )
    return tuple(host.arguments[_host_position(word) - 1] if isinstance(word, dict) else _text(word) for word in argv)


def _host_position(word: dict[str, Any]) -> int:
    (position,) = word.values()
    if list(word) != ["host"] or type(position) is not int or position < 1:
        raise ValueError("not a position")
    return position


def _environment(config: dict[str, Any], host: Host) -> dict[str, str]:
    """Return the variables of the policy, and those of the container that the policy names; unset ones are empty."""
    taken = (_variable(name) for name in _list(config, "host_environment"))
    own = {_variable(name): _text(value) for name, value in config["environment"].items()}
    return {name: host.environment.get(name, "") for name in taken} | own


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("not a text")
    value.encode()  # a lone surrogate cannot be given to the program
    return value


def _variable(name: Any) -> str:
    if not name or "=" in name:
        raise ValueError("not the name of a variable")
    return _text(name)


def _absolute(path: Any) -> str:
    text = _text(path)
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError("not an absolute path")
    return os.path.normpath("/" + text.lstrip("/"))


def _file_system_key(fspf: Any) -> FileSystemKey | None:
    if fspf is None:
        return None
    key = bytes.fromhex(_text(fspf["key"]))
    if len(key) != 32:
        raise ValueError("not a key")
    path, policy = _absolute(fspf["path"]), fspf.get("update_policy")
    current, initial = (None if tag is None else _text(tag) for tag in (fspf["tag"], fspf.get("initial_tag")))
    if policy == NO_ROLLBACK_PROTECTION:
        return FileSystemKey(path, key, None)
    # Each start may go back to the initial state (LANG section 5, rollback_protected_reinitializable).
    return FileSystemKey(path, key, tuple(dict.fromkeys(tag for tag in (current, initial) if tag)))


def _volumes(found: list[Any]) -> tuple[VolumeKey, ...]:
    """Return the volumes; two of them have neither the same name nor places inside of each other."""
    volumes = tuple(_volume(volume) for volume in found)
    if len({volume.name for volume in volumes}) != len(volumes):
        raise ValueError("a volume is mounted twice")
    places = sorted(f"{volume.path}/" for volume in volumes)
    if any(inner.startswith(outer) for outer, inner in itertools.pairwise(places)):
        raise LaunchRefused("the policy mounts a volume at, or inside of, the place of another one")
    return volumes


def _volume(volume: dict[str, Any]) -> VolumeKey:
    name, files, policy = (_text(volume[field]) for field in ("name", "files", "update_policy"))
    unknown = sorted(volume.keys() - _OF_A_VOLUME)
    if unknown or files not in FILES or policy not in UPDATE_POLICIES:
        raise _unknown(f"volume {name} with {', '.join(unknown) or f'files {files}, update_policy {policy}'}")
    if name in ("", ".", "..") or "/" in name or len(name.encode()) > _LONGEST_NAME:
        raise LaunchRefused(f"volume {name!r} of the policy has a name that no directory can have")
    path, key = _absolute(volume["path"]), bytes.fromhex(_text(volume["key"]))
    tag = None if volume["tag"] is None else bytes.fromhex(_text(volume["tag"]))
    if path == "/" or len(key) != 32 or (tag is not None and len(tag) != 16):
        raise ValueError("not a volume")
    return VolumeKey(name, path, key, tag, files, policy)


def _permission(file: Any) -> int:
    permission = file["permission"]
    if type(permission) is not int or not 0 <= permission <= 0o7777:
        raise ValueError("not a permission")
    return permission


def _file(file: Any) -> tuple[str, int, bytes]:
    return _absolute(file["path"]), _permission(file), base64.b64decode(_text(file["content"]), validate=True)
