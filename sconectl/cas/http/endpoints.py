"""One method for each operation of the REST interface.

In: requests. Out: responses that hold the results of a CAS. Reading a single row is done at once; what takes time, or
may wait for a disk or for another CAS, is done in one of three lanes: attestation waits for nobody else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from functools import cached_property
from types import NoneType
from typing import Any

from sconectl import __version__
from sconectl.cas.bounds.lanes import Lane
from sconectl.cas.bounds.limits import Limits
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.http.openapi import document
from sconectl.cas.http.requests import MALFORMED, Call, message_in
from sconectl.cas.http.responses import BytesResponse, json_response
from sconectl.cas.http.routes import PEM, ROWS, YAML
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.ports import StoredSession

_NONCE = re.compile(r"([0-9a-f]{2}){1,64}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SELECTOR = re.compile(r"session=([^,]+)(?:,secret=(.+))?\Z", re.DOTALL)
_TEXT_OR_NONE = (str, NoneType)


class Endpoints:
    """The handlers that `routes.ROWS` names, one method for each."""

    def __init__(self, cas: EmbeddedCas, limits: Limits) -> None:
        self._cas = cas
        self._limits = limits
        self._attesting = _lane("attest", limits, urgent=True)
        self._uploading = _lane("upload", limits)
        self._reading = _lane("read", limits)

    def close(self) -> None:
        """End the threads once they are idle."""
        for lane in (self._attesting, self._uploading, self._reading):
            lane.close()

    async def _answer(self, lane: Lane, call: Call, work: Callable[..., Any], *arguments: Any) -> BytesResponse:
        """Return the result of `work` as JSON, which is written in the lane, too: large results take time."""
        return await lane.run(call.customer, lambda: json_response(work(*arguments)))

    async def create(self, call: Call) -> BytesResponse:
        """Create or update a session, or say that it is unchanged."""
        return await self._create(call, unchanged=200)

    async def create_by_older_path(self, call: Call) -> BytesResponse:
        """Do the same for clients that take 201 alone for a success."""
        return await self._create(call, unchanged=201)

    async def _create(self, call: Call, unchanged: int) -> BytesResponse:
        principal = call.principal()
        body = await call.body()
        taken = await self._uploading.run(call.customer, lambda: self._cas.put(body, principal))
        same = taken.outcome == "unchanged"
        answer = {"hash": taken.hash, **({"unchanged": True} if same else {"created": taken.outcome == "created"})}
        warnings = {"warnings": list(taken.warnings)} if taken.warnings else {}
        return json_response(answer | warnings, unchanged if same else 201)

    async def read(self, call: Call) -> BytesResponse:
        """Return a session as JSON."""
        return await self._read(call, lambda stored: json_response({"session": stored.text, "hash": stored.hash}))

    async def read_text(self, call: Call) -> BytesResponse:
        """Return a session as YAML."""
        return await self._read(call, lambda stored: BytesResponse(stored.text.encode(), media_type=YAML.encode()))

    async def _read(self, call: Call, shown: Callable[[StoredSession], BytesResponse]) -> BytesResponse:
        name, principal, wanted = call.parameter, call.principal(), _hash(call)
        return await self._reading.run(call.customer, lambda: shown(self._cas.read(name, principal, wanted)))

    async def list_sessions(self, call: Call) -> BytesResponse:
        """Return the sessions of a namespace."""
        namespace = call.query("namespace")
        if not namespace:
            raise CasRefusal(400, MALFORMED, "Expected ?namespace=NAMESPACE, or / for the top level")
        principal = call.principal()
        return await self._answer(
            self._reading, call, lambda: {"sessions": self._cas.list_sessions(namespace, principal)}
        )

    async def hash_of(self, call: Call) -> BytesResponse:
        """Return the hash of a session."""
        name, principal = call.parameter, call.principal()
        return await self._answer(self._reading, call, lambda: {"hash": self._cas.hash_of(name, principal)})

    async def values(self, call: Call) -> BytesResponse:
        """Return one public value, or all of a session."""
        selector = _SELECTOR.match(call.parameter)
        if selector is None:
            raise CasRefusal(400, MALFORMED, "Expected /v1/values/session=NAME[,secret=SECRET]")
        session, secret = selector.groups()
        if secret is None:
            return await self._answer(self._reading, call, lambda: {"values": self._cas.public_values(session)})
        quick = self._cas.quick_value(session, secret)
        if quick is not None:
            return json_response(quick)
        return await self._answer(self._reading, call, self._cas.public_value, session, secret)

    async def report(self, call: Call) -> BytesResponse:
        """Return the attestation report of the CAS, bound to a nonce."""
        nonce = call.query("nonce")
        if nonce is not None and not _NONCE.match(nonce):
            raise CasRefusal(400, MALFORMED, "nonce is not 1 to 64 bytes as lower case hex digits")
        return await self._answer(self._reading, call, self._cas.report, nonce or "")

    async def version(self, call: Call) -> BytesResponse:
        """Return the version."""
        return json_response({"version": __version__, "simulation": True})

    async def health(self, call: Call) -> BytesResponse:
        """Say that the process answers, and that attestations do not hang."""
        if self._attesting.stuck(self._limits.stuck_seconds):
            raise CasRefusal(503, "The CAS hangs", "No attestation was begun or finished for a long time")
        return json_response({"status": "ok", "simulation": True})

    async def ready(self, call: Call) -> BytesResponse:
        """Say whether programs can attest now: the store can be used, and their lane finishes a trial in time."""
        trial = self._attesting.run(call.customer, self._cas.check)
        try:
            await asyncio.wait_for(trial, self._limits.ready_seconds)
        except TimeoutError:
            raise CasRefusal(503, "The CAS is not ready", "Attestations have to wait too long") from None
        except CasRefusal as refusal:
            raise CasRefusal(503, "The CAS is not ready", *refusal.causes) from refusal
        return await self.health(call)

    async def openapi(self, call: Call) -> BytesResponse:
        """Return the description of this interface."""
        return self._document

    @cached_property
    def _document(self) -> BytesResponse:
        return json_response(document(ROWS))

    async def certificate_chain(self, call: Call) -> BytesResponse:
        """Return the issuers of the served certificate."""
        return BytesResponse(self._cas.keys.chain_pem.encode(), media_type=PEM.encode())

    async def export(self, call: Call) -> BytesResponse:
        """Give an exported secret to another CAS."""
        chain = call.peer_chain()
        return await self._answer(self._reading, call, self._cas.export, await call.json_object(), chain)

    async def nonce(self, call: Call) -> BytesResponse:
        """Return a number for one attestation."""
        return json_response(self._cas.enclaves.nonce())

    async def quote(self, call: Call) -> BytesResponse:
        """Sign a report with the key of the simulated machine."""
        message = await call.json(report=dict)
        return await self._answer(self._attesting, call, self._cas.enclaves.quote, message["report"])

    async def attest(self, call: Call) -> BytesResponse:
        """Attest a program and return its configuration."""
        channel = call.channel()
        message = await call.json(config_id=str, quote=dict, access_token=_TEXT_OR_NONE)
        arguments = (message["config_id"], message["quote"], channel, message["access_token"])
        return await self._answer(self._attesting, call, self._cas.enclaves.attest, *arguments)

    async def fill(self, call: Call) -> BytesResponse:
        """Fill secrets into files that an attested program read from its own file system."""
        channel = call.channel()
        body = await call.body()
        return await self._answer(
            self._attesting, call, lambda: self._cas.enclaves.fill(channel, message_in(body, files=list)["files"])
        )

    async def volumes(self, call: Call) -> BytesResponse:
        """Return the states of the volumes of a session."""
        name, principal = call.parameter, call.principal()
        return await self._answer(self._reading, call, lambda: {"volumes": self._cas.volumes.listed(name, principal)})

    async def accept(self, call: Call) -> BytesResponse:
        """Move the tag of a volume to the state that its owner names."""
        principal = call.principal()
        message = await call.json(session=str, volume=str, old=_TEXT_OR_NONE, new=_TEXT_OR_NONE)
        arguments = (message["session"], message["volume"], message["old"], message["new"], principal)
        return await self._answer(self._uploading, call, self._cas.volumes.accept, *arguments)

    async def lease(self, call: Call) -> BytesResponse:
        """Give, renew or take back the lease on a volume."""
        channel = call.channel()
        message = await call.json(volume=str, holder=str, name=str, action=str)
        enclaves = self._cas.enclaves
        work = {"take": enclaves.take_lease, "release": enclaves.release_lease}.get(message["action"])
        if work is None:
            raise CasRefusal(400, MALFORMED, "action is neither take nor release")
        arguments = (channel, message["volume"], message["holder"], message["name"])
        return await self._answer(self._attesting, call, work, *arguments)

    async def update_tag(self, call: Call) -> BytesResponse:
        """Move a tag on."""
        channel = call.channel()
        message = await call.json(subject=str, old=_TEXT_OR_NONE, new=str, holder=_TEXT_OR_NONE)
        arguments = (channel, message["subject"], message["old"], message["new"], message["holder"])
        return await self._answer(self._attesting, call, self._cas.enclaves.update_tag, *arguments)


def _lane(name: str, limits: Limits, *, urgent: bool = False) -> Lane:
    threads, waiting, per_address = (
        getattr(limits, f"{name}_{bound}") for bound in ("threads", "waiting", "per_address")
    )
    patience, away = limits.waiting_seconds, limits.remote_requests
    return Lane(name, threads, waiting, per_address, patience=patience, away=away, urgent=urgent)


def _hash(call: Call) -> str | None:
    wanted = call.query("hash")
    if wanted is not None and not _HASH.match(wanted):
        raise CasRefusal(400, MALFORMED, "hash is not 64 lower case hex digits")
    return wanted
