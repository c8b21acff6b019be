"""The part of the embedded CAS that programs talk to: they get quotes, attest, and move the tags of their files on.

In: what came over a channel, with its client certificate. Out: plain JSON values for the answer. Every decision leaves
an entry in the audit log; a refusal in a transaction of its own, because that of the request is taken back. Raises
`CasRefusal`.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sconectl.cas.attest import leases
from sconectl.cas.attest.channels import NONCE_SECONDS, Attested, Channels, Nonces
from sconectl.cas.attest.enclave_rules import check_enclave, demanded_security, unreadable
from sconectl.cas.attest.one_time_password import Guessing, use_code
from sconectl.cas.attest.placeholder_filling import SecretValues
from sconectl.cas.attest.program_configuration import configuration, filled_files, fspf_subject
from sconectl.cas.attest.quotes import Quote, check_channel, read_quote, sign_quote
from sconectl.cas.attest.tags import EPHEMERAL, Subject, current_tag, move_on
from sconectl.cas.attest.volumes import volume_subject
from sconectl.cas.bounds.lanes import customer, still_wanted
from sconectl.cas.bounds.limits import DEFAULT, Limits
from sconectl.cas.bounds.refusal import Busy, CasRefusal
from sconectl.cas.disk.sealing import derived_key
from sconectl.cas.keys.simulated_machine import Machine
from sconectl.cas.store.audit_folding import Folding
from sconectl.cas.store.quota import Quota
from sconectl.policy.forms.one_time_password import base32_bytes
from sconectl.policy.reading import Security, Service, Session
from sconectl.policy.resolved_sections import FragmentError, one_time_password_of

if TYPE_CHECKING:
    from sconectl.cas.keys.cas_keys import CasKeys
    from sconectl.cas.store.store import Store, Transaction

_CONFIG_ID = re.compile(
    r"(?P<session>/|[A-Za-z0-9_\-.~/]*[A-Za-z0-9_\-.~])/(?P<service>[A-Za-z0-9_\-.~]+)(?:@(?P<code>.*))?", re.S
)
_MAX_CONFIG_ID = 2048
_ATTEMPTS = 6
_OF_NO_SESSION = (404, 429, 503, 507)  # refusals that say nothing about the program
MAIN_FILE_SYSTEM = "fspf"
"""The subject of `update_tag` that is not the name of a volume."""


@dataclass(frozen=True)
class _Request:
    """What a program that wants to start has sent."""

    session: str
    service: str
    code: str | None
    quote: Quote
    channel: bytes
    access_token: str | None
    fresh: bool


@dataclass(frozen=True)
class _Accepted:
    """The session and service that an accepted program gets; `code_secret` (base32) makes its one-time passwords."""

    session: Session
    hash: str
    service: Service
    mode: str
    code_secret: str | None = field(repr=False)


class Enclaves:
    """Attests programs against the sessions in `store` and serves those that were attested."""

    def __init__(
        self,
        store: Store,
        keys: CasKeys,
        machine: Machine,
        values: SecretValues,
        clock: Callable[[], datetime],
        quota: Quota,
        folding: Folding,
        limits: Limits = DEFAULT,
    ) -> None:
        self._quota = quota
        self._folding = folding
        self._limits = limits
        self._store = store
        self._keys = keys
        self._machine = machine
        self._values = values
        self._clock = clock
        self._nonces = Nonces()
        self._channels = Channels()
        self._guessing = Guessing()
        self._scope_key = derived_key(keys.sealing, "sconectl one-time password scopes v1")
        self._version_key = derived_key(keys.sealing, "sconectl versions of sessions v1")

    def nonce(self) -> dict[str, str]:
        """Return a number that makes one report fresh."""
        return {"nonce": self._nonces.give(self._now())}

    def quote(self, report: Any) -> dict[str, Any]:
        """Let the simulated machine sign `report`; raises `CasRefusal` 400 for a malformed one."""
        return {"quote": sign_quote(report, self._machine.platform, self._keys.quoting)}

    def attest(self, config_id: str, quote: Any, channel_der: bytes, access_token: str | None = None) -> dict[str, Any]:
        """Return the configuration for `SESSION/SERVICE[@CODE]`, if the session accepts the enclave behind `quote`.

        `channel_der` is the client certificate of the connection. Raises `CasRefusal`: 400 for malformed values, 404
        for unknown sessions and services, 403 with all reasons if the session does not accept the enclave.
        """
        wanted = _CONFIG_ID.fullmatch(config_id) if len(config_id) <= _MAX_CONFIG_ID else None
        if wanted is None:
            raise CasRefusal(
                400, "The configuration id is malformed", "Expected SESSION/SERVICE or SESSION/SERVICE@CODE"
            )
        head = f"CAS refused to attest service {wanted['service']} of session {wanted['session']}"
        try:
            checked = read_quote(quote)
            fresh = self._nonces.take(checked.report.nonce, self._now())
            request = _Request(**wanted.groupdict(), quote=checked, channel=channel_der,
                               access_token=access_token, fresh=fresh)  # fmt: skip
            try:
                return self._values.retrying(lambda: self._attest(request))
            except Busy:
                raise
            except CasRefusal as refusal:
                self._record_refusal(request, refusal)
                raise
        except Busy:  # says nothing about the program
            raise
        except CasRefusal as refusal:
            raise CasRefusal(refusal.status, head, *refusal.causes, details=refusal.details) from refusal

    def fill(self, channel_der: bytes, files: Any) -> dict[str, Any]:
        """Return the files (`{"path", "content": base64}`) of an attested program with secrets filled in."""
        return self._values.retrying(lambda: self._fill(channel_der, files))

    def update_tag(
        self, channel_der: bytes, subject: str, old: str | None, new: str, holder: str | None = None
    ) -> dict[str, Any]:
        """Move the tag of a file system of an attested program on from `old` to `new`; return the current one.

        `subject` is `fspf` for the main file system, or the name of a volume; the volume if there is a `holder`, whose
        lease is renewed by it. Raises `CasRefusal` 404 if the service has no such file system, 409 for a rollback or
        concurrent use.
        """
        if holder is not None:  # as often as the program syncs; the audit log does not grow by it
            leases.check_holder(holder)
        else:
            self._count(channel_der)
        with self._store.writing() as transaction:
            attested, session, service = self._behind(transaction, channel_der)
            is_main = subject == MAIN_FILE_SYSTEM and holder is None
            found = fspf_subject(session, service) if is_main else None
            if found is None:
                found = volume_subject(transaction, session, attested.session_hash, service, subject)
                if found is not None and found.policy != EPHEMERAL:
                    leases.use(transaction, found, subject, holder, self._now())
            if found is None:
                raise CasRefusal(404, f"Service {service.name} has no file system of this name")
            current = move_on(transaction, found, old, new)
            moved = {"session": session.name, "service": service.name, "file_system": subject}
            # The freshness anchor follows the audit log and this count, and so notices old tags in an old copy.
            if current == new and holder is None:
                transaction.record("tag_updated", **moved)
            elif current == new:
                transaction.count_move()
        if current == new and holder is not None:
            self._folding.granted("tag_updated", moved, {"address": customer().address})
        return {"tag": current}

    def take_lease(self, channel_der: bytes, volume: str, holder: str, name: str) -> dict[str, Any]:
        """Give or renew the lease on a volume of an attested program; return its tag, and how long the lease is.

        `holder` (32 hex digits) tells instances apart, `name` is for people. Raises `CasRefusal` 404 if the service has
        no such volume, 400 if it is ephemeral, 409 if another instance has the lease.
        """
        leases.check_holder(holder)
        leases.check_name(name)
        self._count(channel_der)
        with self._store.writing() as transaction:
            subject, names = self._leasable(transaction, channel_der, volume)
            lease, is_new = leases.take(transaction, subject, holder, name, self._now())
            if is_new:
                transaction.record("volume_lease_taken", **names, instance=name)
            tag = current_tag(transaction, subject)
        if lease.holder != holder:  # what was learnt about its end stays
            raise leases.in_use(volume, lease)
        return {"tag": tag, "seconds": leases.SECONDS}

    def release_lease(self, channel_der: bytes, volume: str, holder: str, name: str) -> dict[str, Any]:
        """Take the lease back from `holder`, if it still has it, so that others need not wait; return the tag."""
        leases.check_holder(holder)
        leases.check_name(name)
        self._count(channel_der)
        with self._store.writing() as transaction:
            subject, names = self._leasable(transaction, channel_der, volume)
            if leases.release(transaction, subject, holder, self._now()):
                transaction.record("volume_lease_released", **names, instance=name)
            return {"tag": current_tag(transaction, subject), "seconds": 0}

    def _count(self, channel_der: bytes) -> None:
        """Count an action of an attested program before it waits for its turn to write."""
        with self._store.reading() as transaction:
            attested, *_ = self._behind(transaction, channel_der)
        self._quota.attestation(customer().address, attested.session)

    def _leasable(self, transaction: Transaction, channel_der: bytes, volume: str) -> tuple[Subject, dict[str, str]]:
        """Return a volume of the program behind a channel, and the names for the audit log."""
        attested, session, service = self._behind(transaction, channel_der)
        subject = volume_subject(transaction, session, attested.session_hash, service, volume)
        if subject is None:
            raise CasRefusal(404, f"Service {service.name} has no volume of this name")
        if subject.policy == EPHEMERAL:
            raise CasRefusal(400, f"Volume {volume} is ephemeral here: nothing is written to it, so it needs no lease")
        return subject, {"session": session.name, "service": service.name, "volume": volume}

    def _attest(self, request: _Request) -> dict[str, Any]:
        """Decide on a snapshot of the store, then record the decision: only recording it keeps others from writing."""
        refreshed = False
        for _ in range(_ATTEMPTS):
            with self._store.reading() as transaction:
                accepted = self._accepted(transaction, request)
                is_due = not refreshed and self._values.is_due(transaction, accepted.session)
                config = None if is_due else self._configuration(transaction, request, accepted)
            if config is None:
                self._values.refresh(self._store, accepted.session)
                refreshed = True
                continue
            still_wanted()
            self._quota.attestation(customer().address, request.session)
            with self._store.writing() as transaction:
                if transaction.active_hash(request.session) != accepted.hash:
                    continue
                self._check_code(transaction, accepted.code_secret, request.code)
                if isinstance(config, CasRefusal):
                    raise config
                _record(transaction, "service_attested", request, accepted.hash, mode=accepted.mode)
            measurement = request.quote.report.measurement
            attested = Attested(request.session, accepted.hash, request.service, measurement, self._now())
            self._channels.remember(request.channel, attested)
            return config
        raise Busy(f"Session {request.session} is updated all the time")

    def _accepted(self, transaction: Transaction, request: _Request) -> _Accepted:
        """Return session and service, if the session accepts the enclave; a one-time password is checked later."""
        version = transaction.session(request.session)
        if version is None:
            raise CasRefusal(404, f"Session not found: there is no session {request.session}")
        session = version.session()
        service = session.service(request.service)
        if service is None:
            raise CasRefusal(404, f"Service not found: session {session.name} has no service {request.service}")
        check_channel(request.quote, request.channel)
        resolve = self._values.resolver(transaction, session)
        security, attestation = demanded_security(session, resolve)
        key, allowed = self._keys.quoting.public_key(), self._machine.accept_hardware_policies
        check_enclave(request.quote, session, service, attestation, resolve, key, hardware_allowed=allowed)
        _check_freshness(security, request)
        _check_access_token(security, request.access_token)
        try:
            code_secret = one_time_password_of(security, service, resolve)
        except FragmentError as error:
            raise unreadable(error) from error
        return _Accepted(session, version.hash, service, attestation.mode, code_secret)

    def _configuration(
        self, transaction: Transaction, request: _Request, accepted: _Accepted
    ) -> dict[str, Any] | CasRefusal:
        """Return the answer, or the refusal: only a program with a valid one-time password is told of it."""
        measurement, most = request.quote.report.measurement, self._limits.filled_bytes
        try:
            config, renew = configuration(
                transaction, self._values, accepted.session, accepted.hash, accepted.service, measurement, most=most
            )
        except CasRefusal as refusal:
            return refusal
        # It tells versions of the session apart, and nobody learns the session's hash from it (LANG §4).
        version = hmac.digest(self._version_key, accepted.hash.encode(), "sha256").hex()
        return {"config": config, "version": version, **self._renewal(renew)}

    def _renewal(self, time: int | None) -> dict[str, int]:
        return {} if time is None else {"renew_in": max(0, time - int(self._now()))}

    def _check_code(self, transaction: Transaction, code_secret: str | None, code: str | None) -> None:
        if code_secret is None:
            if code is not None:
                raise CasRefusal(403, "The session does not ask for a one-time password", "Remove @ and what follows")
            return
        secret = base32_bytes(code_secret)
        # One scope for all services that share the secret: a code that was seen cannot be used for another service.
        scope = hmac.digest(self._scope_key, secret, "sha256").hex()[:32]
        use_code(transaction, self._guessing, scope, secret, code, self._now())

    def _fill(self, channel_der: bytes, files: Any) -> dict[str, Any]:
        with self._store.reading() as transaction:
            attested, session, service = self._behind(transaction, channel_der)
            most = self._limits.filled_bytes
            found, renew = filled_files(
                transaction, self._values, session, service, attested.measurement, files, most=most
            )
        return {"files": found, **self._renewal(renew)}

    def _behind(self, transaction: Transaction, channel_der: bytes) -> tuple[Attested, Session, Service]:
        """Return the program behind a channel, its session and service; raises `CasRefusal` 403 if they changed."""
        attested = self._channels.behind(channel_der, self._now())
        version = transaction.session(attested.session)
        service = version.session().service(attested.service) if version else None
        if version is None or service is None or version.hash != attested.session_hash:
            raise CasRefusal(403, f"Session {attested.session} was updated in between", "Attest again")
        return attested, version.session(), service

    def _record_refusal(self, request: _Request, refusal: CasRefusal) -> None:
        """Note a refusal for a session that exists; names that nobody owns must not fill the log."""
        if refusal.status in _OF_NO_SESSION:
            return
        with self._store.reading() as transaction:
            active = transaction.active_hash(request.session)
            if active is None:
                return
            fields = _fields(transaction, request, active)
        by = {name: fields.pop(name) for name in ("measurement", "platform")}
        fields["reason"] = refusal.causes[0]
        self._folding.refused("attestation_refused", fields, by | {"address": customer().address})

    def _now(self) -> float:
        return self._clock().timestamp()


def _check_freshness(security: Security, request: _Request) -> None:
    if security.singleton_enclaves and not request.fresh:
        raise CasRefusal(
            403,
            "The enclave is not fresh",
            "The session demands singleton enclaves: the report must hold a number of this CAS, "
            f"at most {NONCE_SECONDS} seconds old and used for the first time",
        )


def _check_access_token(security: Security, given: str | None) -> None:
    """Compare the service access token; both sides must know it, or neither (LANG §17)."""
    expected = security.service_access_token
    if expected is None and given is not None:
        raise CasRefusal(403, "The session has no service access token, but one was given")
    if expected is not None and given is None:
        raise CasRefusal(403, "The service access token is missing", "Set SCONE_SERVICE_ACCESS_TOKEN for the container")
    if not hmac.compare_digest(_bytes(expected), _bytes(given)):
        raise CasRefusal(403, "The service access token is wrong")


def _bytes(text: str | None) -> bytes:
    return (text or "").encode("utf-8", "backslashreplace")


def _record(transaction: Transaction, event: str, request: _Request, session_hash: str, **more: str) -> None:
    transaction.record(event, **_fields(transaction, request, session_hash), **more)


def _fields(transaction: Transaction, request: _Request, session_hash: str) -> dict[str, str]:
    quote = request.quote
    fields = {"session": request.session, "service": request.service, "measurement": quote.report.measurement}
    if transaction.is_salted(request.session):  # else the hash is confidential (LANG §4)
        fields["hash"] = session_hash
    return {**fields, "platform": quote.platform.id}
