"""Attests to a CAS: a fresh number, a quote over measurement and channel, the configuration, secrets for own files.

In: links to the CAS and to what quotes, configuration id and identity. Out: what the policy prescribes. A CAS that does
not answer is tried again with growing pauses; a refusal is final.
"""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from sconectl.runtime import log
from sconectl.runtime.configuration import Configuration, Host, read_configuration, renewal_of
from sconectl.runtime.link import CasLink, CasNotReady, Channel, open_channel
from sconectl.runtime.log import LaunchRefused

_OLD_IDENTITY = ("measurement", "debug")
"""The report fields that a CAS without numbers for reports knows."""
_Result = TypeVar("_Result")


class AttestationRefused(LaunchRefused):
    """The CAS has said no; `status` is the status of its answer."""

    def __init__(self, status: int, causes: tuple[str, ...]) -> None:
        super().__init__("attestation failed", causes=causes)
        self.status = status


@dataclass(frozen=True)
class Attester:
    """All that this launcher attests with: where the CAS is and which one, and what the enclave is."""

    cas_address: str
    cas_key: str
    las_address: str
    config_id: str
    identity: Mapping[str, Any]
    access_token: str = field(repr=False)
    host: Host = field(repr=False)


def fetch_configuration(
    cas: CasLink,
    las: CasLink,
    channel: Channel,
    *,
    config_id: str,
    identity: Mapping[str, Any],
    access_token: str = "",
    host: Host,
    patience: float,
) -> Configuration:
    """Get a quote and exchange it for the configuration.

    `identity` are the fields of the report about the enclave: measurement, debug, and the signer if it is known.
    `host` completes the configuration where the policy allows it. All is tried for `patience` seconds. Raises
    `LaunchRefused` if the CAS refuses, or stays silent.
    """

    def exchange(deadline: float) -> dict[str, Any]:
        return attest_once(
            cas, las, channel, config_id=config_id, identity=identity, access_token=access_token, deadline=deadline
        )

    return read_configuration(_patiently(exchange, patience), host)


def attest_once(
    cas: CasLink,
    las: CasLink,
    channel: Channel,
    *,
    config_id: str,
    identity: Mapping[str, Any],
    access_token: str,
    deadline: float,
) -> dict[str, Any]:
    """Do the same once and return the answer; after a failure all is done again: a number is good for one attempt.

    Raises `CasNotReady`, `AttestationRefused` if the CAS refuses, and `LaunchRefused` for everything else.
    """
    nonce = _nonce(cas, deadline)
    known = dict(identity) if nonce else {name: identity[name] for name in _OLD_IDENTITY}
    report = {"toolchain": "sim", "report_data": channel.report_data(), **known, **nonce}
    status, content = las.call("POST", "/v1/sim/quote", {"report": report}, deadline=deadline)
    if status != 200:
        raise LaunchRefused("no quote could be had", causes=reasons(status, content))
    request = {"config_id": config_id, "quote": json_object(content).get("quote")}
    if access_token:
        request["access_token"] = access_token
    status, content = cas.call("POST", "/v1/sim/attest", request, deadline=deadline)
    if status != 200:
        raise AttestationRefused(status, reasons(status, content))
    return json_object(content)


def attest_again(known: Attester, seconds: float) -> tuple[CasLink, dict[str, Any]]:
    """Attest over a channel with a new key; return the connection, and the answer. Each call takes at most `seconds`.

    Raises as `attest_once` does.
    """
    channel = open_channel()
    link = CasLink(known.cas_address, known.cas_key, channel, timeout=seconds)
    las = link
    if known.las_address:
        las = CasLink(known.las_address, "", channel, timeout=seconds, who="LAS (quoting)")
    try:
        return link, attest_once(
            link, las, channel, config_id=known.config_id, identity=known.identity,
            access_token=known.access_token, deadline=time.monotonic() + seconds,
        )  # fmt: skip
    except BaseException:
        link.close()
        raise
    finally:
        if las is not link:
            las.close()


def fill_file(cas: CasLink, path: str, content: bytes, *, patience: float) -> tuple[bytes, int | None]:
    """Return a file of the image with secrets in the places of their placeholders; raises `LaunchRefused`.

    Besides, return after how many seconds it will be another one, because certificates in it are renewed.
    """
    request = {"files": [{"path": path, "content": base64.b64encode(content).decode()}]}
    status, answer = _patiently(lambda deadline: cas.call("POST", "/v1/sim/fill", request, deadline=deadline), patience)
    if status != 200:
        raise LaunchRefused(f"the file {path} could not be filled in", causes=reasons(status, answer))
    try:
        document = json_object(answer)
        (file,) = document["files"]
        if file["path"] != path:
            raise ValueError("another file")
        return base64.b64decode(file["content"], validate=True), renewal_of(document)
    except (KeyError, TypeError, ValueError) as error:
        raise LaunchRefused("the CAS sent files that this launcher does not understand") from error


def _nonce(cas: CasLink, deadline: float) -> dict[str, str]:
    """Return the number for the report; nothing if the CAS is of a version that knows none."""
    status, content = cas.call("POST", "/v1/sim/nonce", None, deadline=deadline)
    if status == 404:
        return {}
    nonce = json_object(content).get("nonce") if status == 200 else None
    if not isinstance(nonce, str):
        raise LaunchRefused("no number for a fresh report could be had", causes=reasons(status, content))
    return {"nonce": nonce}


def _patiently(attempt: Callable[[float], _Result], patience: float) -> _Result:
    deadline, pause = time.monotonic() + patience, 0.25
    while True:
        try:
            return attempt(deadline)
        except CasNotReady as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise LaunchRefused(
                    f"the {error.who} did not answer within {patience:g} seconds",
                    causes=(str(error), "check SCONE_CAS_ADDR and that the CAS is running"),
                ) from error
            log.write("WARNING", f"the {error.who} does not answer ({error}); trying again")
            time.sleep(min(pause * random.uniform(0.8, 1.2), left))  # noqa: S311 - jitter, not a secret
            pause = min(pause * 2, 8.0)


def json_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object in an answer of the CAS; raises `LaunchRefused` if there is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise LaunchRefused("the CAS answered with something that is not JSON") from error
    if not isinstance(document, dict):
        raise LaunchRefused("the CAS answered with unexpected JSON")
    return cast(dict[str, Any], document)


def reasons(status: int, content: bytes) -> tuple[str, ...]:
    """Return the causes in a refusal of the CAS, outermost first."""
    try:
        causes = json.loads(content)["msg"]
    except (ValueError, KeyError, TypeError, RecursionError):
        causes = None
    if isinstance(causes, list) and causes and all(isinstance(cause, str) for cause in causes):
        return tuple(causes)
    return (f"HTTP status {status}",)
