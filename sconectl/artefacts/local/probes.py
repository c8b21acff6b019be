"""Health of a container, as the probes of its pod ask for it.

In: a container of a pod. Out: a command that asks the same from inside of the container. The Python is that of the
launcher, which attests nothing here and learns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sconectl.artefacts.installed import Object
from sconectl.artefacts.local.containers import Health
from sconectl.artefacts.pod import PYTHON

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5).close()"
ASK = """import http.client, ssl, sys
scheme, host, port, path = sys.argv[1:]
if scheme == "HTTPS":
    connection = http.client.HTTPSConnection(host, int(port), timeout=5, context=ssl._create_unverified_context())
else:
    connection = http.client.HTTPConnection(host, int(port), timeout=5)
connection.request("GET", path)
sys.exit(not 200 <= connection.getresponse().status < 400)"""
_PERIOD, _TIMEOUT, _FAILURES = 10, 1, 3  # what Kubernetes takes
_STARTS_WITHIN = 300


def health_of(container: Object, host: str, ports: Mapping[str, int], own: tuple[str, ...]) -> Health | None:
    """Return the health command of a container; `own` is that of its image, which is asked rather than a port."""
    start, ready = container.get("startupProbe") or {}, container.get("readinessProbe") or {}
    probe = ready or start
    command = own or (_command(probe, host, ports) if probe else ())
    if not command:
        return None
    within = start.get("failureThreshold", _FAILURES) * start.get("periodSeconds", _PERIOD) if start else _STARTS_WITHIN
    return Health(
        command,
        interval=int(probe.get("periodSeconds", _PERIOD)) if probe else _PERIOD // 2,
        timeout=max(int(probe.get("timeoutSeconds", _TIMEOUT)), 5),  # a process has to be started for it
        retries=int(probe.get("failureThreshold", _FAILURES)),
        start=int(within) + int(start.get("initialDelaySeconds", 0)),
    )


def _command(probe: Object, host: str, ports: Mapping[str, int]) -> tuple[str, ...]:
    def port(given: Any) -> str:
        return str(ports.get(str(given), given))

    python = (*PYTHON, "-I", "-S", "-B", "-c")
    if asked := probe.get("exec"):
        return tuple(map(str, asked["command"]))
    if asked := probe.get("httpGet"):
        scheme = str(asked.get("scheme", "HTTP"))
        return (*python, ASK, scheme, asked.get("host") or host, port(asked["port"]), asked.get("path") or "/")
    if asked := probe.get("tcpSocket") or probe.get("grpc"):
        return (*python, CONNECT, asked.get("host") or host, port(asked["port"]))
    return ()
