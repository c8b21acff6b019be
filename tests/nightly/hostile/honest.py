"""The honest clients: one attests all the time as a launcher does, one works on its session; both take the time.

In: the address of the CAS and its key hash. Out: one `Attempt` for each attestation, one `Write` for each update.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from sconectl.runtime.attest import fetch_configuration
from sconectl.runtime.configuration import Host
from sconectl.runtime.link import CasLink, Channel, open_channel
from sconectl.runtime.log import LaunchRefused

from .wire import context_for

PAUSE = 0.05
PATIENCE = 30.0
PASSWORD = "the password that only the honest program gets"


def policy(measurement: str, predecessor: str | None = None) -> bytes:
    """Return the session of the honest program: variables, a file, values given and drawn."""
    secrets = [{"name": "password", "kind": "ascii", "value": PASSWORD}, {"name": "drawn", "kind": "ascii"},
               {"name": "key", "kind": "private-key"},
               {"name": "cert", "kind": "x509", "private_key": "key", "san": ["dns:app.test"]}]  # fmt: skip
    service = {"name": "app", "command": "app --serve", "pwd": "/srv", "image_name": "i",
               "environment": {"PASSWORD": "$$SCONE::password$$", "DRAWN": "$$SCONE::drawn$$"},
               "attestation": {"mrenclave": measurement}}  # fmt: skip
    file = {"path": "/etc/app.pem", "content": "$$SCONE::cert$$$$SCONE::key$$"}
    tolerated = {"attestation": {"mode": "simulation", "tolerate": ["hyperthreading", "outdated-tcb"],
                                 "ignore_advisories": "*"}}  # fmt: skip
    document = {"name": "honest", "version": "0.3.12", "services": [service], "secrets": secrets,
                "images": [{"name": "i", "injection_files": [file]}], "security": tolerated}  # fmt: skip
    return json.dumps(document | ({"predecessor": predecessor} if predecessor else {})).encode()


@dataclass
class Attempt:
    """One attestation: seconds in all and by step, and how long this process was kept from running meanwhile."""

    started: float
    seconds: float
    steps: dict[str, float] = field(default_factory=dict)
    kept_waiting: float = 0.0
    fault: str = ""


class _Timed(CasLink):
    """A link that takes the time of each request."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.steps: dict[str, float] = {}

    def call(self, method: str, path: str, body: Any, *, deadline: float) -> tuple[int, bytes]:
        started = time.monotonic()
        try:
            return super().call(method, path, body, deadline=deadline)
        finally:
            step = path.rpartition("/")[2]
            self.steps[step] = self.steps.get(step, 0) + time.monotonic() - started


class _Lateness(threading.Thread):
    """Sleeps, and sees how much later it wakes up: the machine was busy with something else."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.worst = 0.0

    def run(self) -> None:
        while True:
            started = time.monotonic()
            time.sleep(0.01)
            self.worst = max(self.worst, time.monotonic() - started - 0.01)


def attests(address: str, cas_key: str, measurement: str, until: float) -> list[Attempt]:
    """Attest until then, with a fresh key each time."""
    lateness, made = _Lateness(), []
    lateness.start()
    while time.monotonic() < until:
        channel = open_channel()
        lateness.worst = 0.0
        made.append(_attest(address, cas_key, measurement, channel))
        made[-1].kept_waiting = lateness.worst
        time.sleep(PAUSE)
    return made


def _attest(address: str, cas_key: str, measurement: str, channel: Channel) -> Attempt:
    link = _Timed(address, cas_key, channel, timeout=20.0)
    started, fault = time.monotonic(), ""
    try:
        identity = {"measurement": measurement, "debug": False}
        found = fetch_configuration(
            link, link, channel, config_id="honest/app", identity=identity, host=Host(), patience=PATIENCE
        )
        if dict(found.environment).get("PASSWORD") != PASSWORD:
            fault = "a configuration without its password"
    except LaunchRefused as error:
        fault = str(error)
    seconds = time.monotonic() - started
    link.close()
    return Attempt(started, seconds, link.steps, fault=fault)


@dataclass
class Write:
    """One update of a session, until it was taken: seconds, and how often the owner was asked to come later."""

    seconds: float
    again: int
    fault: str = ""


def works(address: tuple[str, int], until: float) -> list[Write]:
    """Update a session every second, and do what an answer of 429 or 503 asks for."""
    context = context_for(open_channel())
    made: list[Write] = []
    active: str | None = None
    while time.monotonic() < until:
        write, active = _write(address, context, active, len(made))
        made.append(write)
        time.sleep(1.0)
    return made


def _write(
    address: tuple[str, int], context: ssl.SSLContext, active: str | None, number: int
) -> tuple[Write, str | None]:
    secrets = [{"name": "n", "kind": "ascii", "value": str(number)}, {"name": "k", "kind": "private-key"}]
    document = {"name": "work", "version": "0.3.12", "secrets": secrets}
    body = json.dumps(document | ({"predecessor": active} if active else {})).encode()
    started, again, fault = time.monotonic(), 0, ""
    while time.monotonic() - started < PATIENCE:
        link = http.client.HTTPSConnection(*address, timeout=PATIENCE, context=context)
        try:
            link.request("POST", "/v1/sessions", body)
            answer = link.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            fault, pause = type(error).__name__, 0.5
        else:
            if answer.status in {200, 201}:  # 200: it was taken before, and only the answer was lost
                return Write(time.monotonic() - started, again), str(json.loads(content)["hash"])
            fault, pause = f"{answer.status} {content[:200]!r}", float(answer.getheader("retry-after") or 1)
            if answer.status not in {429, 503}:
                break
        finally:
            link.close()
        again += 1
        time.sleep(min(pause, 5.0))
    return Write(time.monotonic() - started, again, fault), active
