"""One method for each operation of the REST interface.

In: calls. Out: answers of the CAS behind it. What only reads a row is done at once; everything that may wait for a
disk or for another CAS is done in one of a few threads.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from types import NoneType
from typing import Any, TypeVar

from sconectl import __version__
from sconectl.cas.answers import Answer, json_answer
from sconectl.cas.openapi import document
from sconectl.cas.refusal import CasRefusal
from sconectl.cas.requests import MALFORMED, Call
from sconectl.cas.routes import PEM, ROWS, YAML
from sconectl.cas.served import ServedCas

_NONCE = re.compile(r"([0-9a-f]{2}){1,64}\Z")
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_SELECTOR = re.compile(r"session=([^,]+)(?:,secret=(.+))?\Z", re.DOTALL)
_TEXT_OR_NONE = (str, NoneType)
_Result = TypeVar("_Result")


class Endpoints:
    """What is done for each row of `routes.ROWS`, by the name of its handler."""

    def __init__(self, cas: ServedCas, threads: int) -> None:
        self._cas = cas
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="cas")

    def close(self) -> None:
        """End the threads once they are idle."""
        self._threads.shutdown(wait=False)

    async def _waiting(self, work: Callable[..., _Result], *arguments: Any) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *arguments))

    async def create(self, call: Call) -> Answer:
        """Create or update a session."""
        principal = call.principal()
        taken = await self._waiting(self._cas.put, await call.body(), principal)
        warnings = {"warnings": list(taken.warnings)} if taken.warnings else {}
        return json_answer({"hash": taken.hash, **warnings}, 201)

    async def read(self, call: Call) -> Answer:
        """Return a session as JSON."""
        stored = await self._waiting(self._cas.read, call.parameter, call.principal(), _hash(call))
        return json_answer({"session": stored.text, "hash": stored.hash})

    async def read_text(self, call: Call) -> Answer:
        """Return a session as YAML."""
        stored = await self._waiting(self._cas.read, call.parameter, call.principal(), _hash(call))
        return Answer(stored.text.encode(), media_type=YAML.encode())

    async def list_sessions(self, call: Call) -> Answer:
        """Return the sessions of a namespace."""
        namespace = call.query("namespace")
        if not namespace:
            raise CasRefusal(400, MALFORMED, "Expected ?namespace=NAMESPACE, or / for the top level")
        found = await self._waiting(self._cas.list_sessions, namespace, call.principal())
        return json_answer({"sessions": found})

    async def hash_of(self, call: Call) -> Answer:
        """Return the hash of a session."""
        return json_answer({"hash": await self._waiting(self._cas.hash_of, call.parameter, call.principal())})

    async def values(self, call: Call) -> Answer:
        """Return one public value, or all of a session."""
        selector = _SELECTOR.match(call.parameter)
        if selector is None:
            raise CasRefusal(400, MALFORMED, "Expected /v1/values/session=NAME[,secret=SECRET]")
        session, secret = selector.groups()
        if secret is None:
            return json_answer({"values": await self._waiting(self._cas.public_values, session)})
        quick = self._cas.quick_value(session, secret)
        if quick is not None:
            return json_answer(quick)
        return json_answer(await self._waiting(self._cas.public_value, session, secret))

    async def report(self, call: Call) -> Answer:
        """Return what the CAS can prove, bound to a nonce."""
        nonce = call.query("nonce")
        if nonce is not None and not _NONCE.match(nonce):
            raise CasRefusal(400, MALFORMED, "nonce is not 1 to 64 bytes as lower case hex digits")
        return json_answer(await self._waiting(self._cas.report, nonce or ""))

    async def version(self, call: Call) -> Answer:
        """Return the version."""
        return json_answer({"version": __version__, "simulation": True})

    async def health(self, call: Call) -> Answer:
        """Say that the process answers."""
        return json_answer({"status": "ok", "simulation": True})

    async def ready(self, call: Call) -> Answer:
        """Say whether the store can be used."""
        try:
            await self._waiting(self._cas.check)
        except CasRefusal as refusal:
            raise CasRefusal(503, "The CAS is not ready", *refusal.causes) from refusal
        return await self.health(call)

    async def openapi(self, call: Call) -> Answer:
        """Return the description of this interface."""
        return self._document

    @cached_property
    def _document(self) -> Answer:
        return json_answer(document(ROWS))

    async def certificate_chain(self, call: Call) -> Answer:
        """Return the issuers of the served certificate."""
        return Answer(self._cas.keys.chain_pem.encode(), media_type=PEM.encode())

    async def export(self, call: Call) -> Answer:
        """Give an exported secret to another CAS."""
        chain = call.peer_chain()
        return json_answer(await self._waiting(self._cas.export, await call.json_object(), chain))

    async def nonce(self, call: Call) -> Answer:
        """Return a number for one attestation."""
        return json_answer(await self._waiting(self._cas.enclaves.nonce))

    async def quote(self, call: Call) -> Answer:
        """Sign a report with the key of the simulated machine."""
        message = await call.json(report=dict)
        return json_answer(await self._waiting(self._cas.enclaves.quote, message["report"]))

    async def attest(self, call: Call) -> Answer:
        """Attest a program and return its configuration."""
        channel = call.channel()
        message = await call.json(config_id=str, quote=dict, access_token=_TEXT_OR_NONE)
        arguments = (message["config_id"], message["quote"], channel, message["access_token"])
        return json_answer(await self._waiting(self._cas.enclaves.attest, *arguments))

    async def fill(self, call: Call) -> Answer:
        """Fill in what an attested program read from its own file system."""
        channel = call.channel()
        message = await call.json(files=list)
        return json_answer(await self._waiting(self._cas.enclaves.fill, channel, message["files"]))

    async def update_tag(self, call: Call) -> Answer:
        """Move a tag on."""
        channel = call.channel()
        message = await call.json(subject=str, old=_TEXT_OR_NONE, new=str)
        arguments = (channel, message["subject"], message["old"], message["new"])
        return json_answer(await self._waiting(self._cas.enclaves.update_tag, *arguments))


def _hash(call: Call) -> str | None:
    wanted = call.query("hash")
    if wanted is not None and not _HASH.match(wanted):
        raise CasRefusal(400, MALFORMED, "hash is not 64 lower case hex digits")
    return wanted
