"""Carries the configuration of a native image over to the confidential image, with a line for each part that is not.

In: the configuration of the native image, and where the program starts. Out: a `Carried`. Entry point, command and
variables go into the policy; the health command is measured, and run by the launcher.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sconectl.image.layers.root_tree import RootFiles
from sconectl.image.settings.native_places import image_volumes, mounted_volumes
from sconectl.protect.index import is_below
from sconectl.runtime.health import PARAMETER

_AS_IT_IS = ("ArgsEscaped", "ExposedPorts", "Shell", "StopSignal", "User")
_ELSEWHERE = ("Cmd", "Entrypoint", "Env", "Healthcheck", "Labels", "OnBuild", "Volumes", "WorkingDir")
_OF_A_CONTAINER = (
    "AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image", "MacAddress", "NetworkDisabled",
    "OpenStdin", "StdinOnce", "Tty",
)  # fmt: skip
"""Fields in which engines describe the container that an image was made of; they have no effect on other containers."""
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True)
class Carried:
    """The configuration of the confidential image without entry point and labels; parameters that are measured, too.

    `left_out` are lines about settings that are not carried over.
    """

    configuration: Mapping[str, Any]
    parameters: Mapping[str, str]
    left_out: tuple[str, ...] = ()


def carried(
    config: Mapping[str, Any],
    root: RootFiles,
    *,
    pwd: str,
    sealed: Sequence[str],
    ask_health: Sequence[str],
    volumes: Sequence[str] = (),
) -> Carried:
    """Return the settings in `config` for the confidential image.

    `pwd` is where the program starts, `sealed` are the encrypted directories, `volumes` the paths of volumes, and
    `ask_health` is the command that asks the launcher for the health of the program.
    """
    found = {name: config[name] for name in _AS_IT_IS if config.get(name)}
    left_out = list(_left_out(config))
    if stay := mounted_volumes(root, config, volumes):
        found["Volumes"] = {path: {} for path in stay}
    if gone := sorted({*image_volumes(config)} - {*stay}):
        left_out.append(
            f"Volumes ({', '.join(gone)}): the storage of encrypted volumes is mounted below /scone/volumes"
        )
    if is_below(root.resolve(pwd) or pwd, (*sealed, *volumes)):
        left_out.append(
            f"WorkingDir ({pwd}) for `docker exec`, which begins in /: only the program sees what is encrypted"
        )
    elif pwd != "/":  # noqa: S105 - a directory
        found["WorkingDir"] = pwd
    path = [entry for entry in config.get("Env") or () if entry.startswith("PATH=")]
    if path:
        found["Env"] = path[-1:]
    check = config.get("Healthcheck") or {}
    test = list(check.get("Test") or ())
    words = _health_command(test, config)
    if words:
        found["Healthcheck"] = {**check, "Test": ["CMD", *ask_health]}
    elif check and test in ([], ["NONE"]):
        found["Healthcheck"] = dict(check)
    elif test:
        left_out.append(f"Healthcheck: the form {test[0]!r} is not known here")
    parameters = {PARAMETER: json.dumps(words)} if words else {}
    return Carried(found, parameters, tuple(f"not carried over: {line}" for line in left_out))


def _left_out(config: Mapping[str, Any]) -> Iterator[str]:
    names = [name for name in dict.fromkeys(e.partition("=")[0] for e in config.get("Env") or ()) if name != "PATH"]
    if names:
        yield f"Env for `docker exec` ({', '.join(names)}): the values are in the policy, for the program alone"
    if config.get("OnBuild"):
        yield "OnBuild: an image that is built from the confidential one does not run these triggers"
    for name in sorted(config):
        if config[name] and name not in (*_AS_IT_IS, *_ELSEWHERE, *_OF_A_CONTAINER):
            yield f"{name}: this field of the image's configuration is not known here"


def _health_command(test: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Return the words of a health command; none if there is none."""
    if test[:1] == ["CMD"]:
        return list(test[1:])
    if test[:1] == ["CMD-SHELL"] and len(test) > 1:
        return [*(config.get("Shell") or _SHELL), test[1]]
    return []
