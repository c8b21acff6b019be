"""The launcher's side of attestation: against the real CAS, and against servers that are broken or hostile."""

from __future__ import annotations

import base64
import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from sconectl.cas.attest.one_time_password import STEP, code_at
from sconectl.runtime import attest, link
from sconectl.runtime.attest import fetch_configuration, fill_file
from sconectl.runtime.configuration import Configuration, FileSystemKey, Host
from sconectl.runtime.link import CasLink, Channel, open_channel, split_address
from sconectl.runtime.log import LaunchRefused

from .conftest import Answer, Served

pytestmark = pytest.mark.sockets

NOTHING = Host()
MEASUREMENT = "ab" * 32
SIGNER = "77" * 32
OTP_SECRET = b"Hello!\xde\xad\xbe\xef" * 2
SESSION = f"""
name: NAME
version: "0.3.11"
security: {{attestation: {{mode: simulation}}}}
services:
  - name: app
    command: [app, "$$SCONE::password$$", "a b"]
    environment: {{PASSWORD: "$$SCONE::password$$", EMPTY: ""}}
    pwd: /work//dir/
    image_name: image
    fspf_path: /scone/image/fs.fspf
    fspf_key: {"cd" * 32}
    fspf_tag: {"ef" * 16}
    attestation: [{{mrenclave: {MEASUREMENT}}}]
images:
  - name: image
    injection_files: [{{path: /etc//app.conf, content: "$$SCONE::password$$", permission: 0o640}}]
secrets:
  - {{name: password, kind: ascii, value: "pässword"}}
"""


@pytest.fixture(scope="module")
def session(served: Served) -> str:
    served.cas.put(SESSION.replace("NAME", "acme"), served.owner)
    return "acme"


def linked(
    address: str, key: str = "", channel: Channel | None = None, who: str = "CAS"
) -> contextlib.closing[CasLink]:
    return contextlib.closing(CasLink(address, key, channel or open_channel(), timeout=5, who=who))


def fetch(
    cas: str, *, key: str = "", las: str = "", config_id: str = "acme/app", patience: float = 0.0, token: str = "",
    host: Host = NOTHING, **identity: Any,
) -> Configuration:  # fmt: skip
    channel = open_channel()
    known = {"measurement": MEASUREMENT, "debug": False} | identity
    with linked(cas, key, channel) as link, linked(las or cas, "", channel, who="LAS (quoting)") as quoting:
        return fetch_configuration(
            link, quoting if las else link, channel, config_id=config_id, identity=known, access_token=token, host=host,
            patience=patience,
        )  # fmt: skip


def refused(*arguments: Any, **settings: Any) -> str:
    with pytest.raises(LaunchRefused) as caught:
        fetch(*arguments, **settings)
    return "\n".join([caught.value.message, *caught.value.causes])


@pytest.mark.parametrize("pinned", [False, True])
def test_the_whole_exchange(served: Served, session: str, pinned: bool) -> None:
    config = fetch(served.address, key=served.key if pinned else "", las=served.address if pinned else "")
    assert config == Configuration(
        session="acme",
        service="app",
        argv=("app", "pässword", "a b"),
        environment={"PASSWORD": "pässword", "EMPTY": ""},
        pwd="/work/dir",
        files=(("/etc/app.conf", 0o640, "pässword".encode()),),
        fspf=FileSystemKey("/scone/image/fs.fspf", bytes.fromhex("cd" * 32), ("ef" * 16,)),
        version=config.version,
    )
    assert "pässword" not in repr(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"measurement": "00" * 32}, f"Unexpected enclave (MRENCLAVE, {'00' * 32}; not signed)"),
        ({"debug": True}, "debug mode"),
        ({"config_id": "acme/other"}, "Service not found"),
        ({"config_id": "other/app"}, "Session not found"),
        ({"measurement": "short"}, "no quote could be had\nThe report is malformed"),
    ],
)
def test_refusals_are_told_in_the_words_of_the_cas(
    served: Served, session: str, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refused(served.address, **changes)


def test_a_quote_of_another_channel_is_useless(served: Served, session: str) -> None:
    with linked(served.address) as link, pytest.raises(LaunchRefused) as caught:
        fetch_configuration(
            link, link, open_channel(), config_id="acme/app", identity={"measurement": MEASUREMENT, "debug": False},
            host=NOTHING, patience=0,
        )  # fmt: skip
    assert "does not belong to this connection" in "".join(caught.value.causes)


def test_the_key_of_the_channel_never_touches_the_disk() -> None:
    channel = open_channel()
    assert b"PRIVATE KEY" in channel.pem and "PRIVATE" not in repr(channel)


SPECIAL = f"""
name: special
version: "0.3.12"
security:
  attestation: {{mode: simulation}}
  singleton_enclaves: true
  service_access_token: t0ken
services:
  - name: app
    command: [app, "@@2", "@@1"]
    environment: {{\\@\\@REGION: ignored, OWN: x}}
    image_name: image
    one_time_password_shared_secret: JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP
    attestation: {{signer: {{mrsigner: {SIGNER}, isvprodid: 7, isvsvn_min: 2}}}}
images:
  - name: image
    injection_files: [/etc/app.ini]
secrets:
  - {{name: password, kind: ascii, value: "pässword"}}
"""


@pytest.fixture(scope="module")
def special(served: Served) -> str:
    served.cas.put(SPECIAL, served.owner)
    return "special/app"


def with_code(config_id: str) -> str:
    return f"{config_id}@{code_at(OTP_SECRET, int(time.time() // STEP))}"


def test_everything_that_a_policy_may_demand(served: Served, special: str) -> None:
    signer = {"mrsigner": SIGNER, "isvprodid": 7, "isvsvn": 3}
    text = refused(served.address, config_id=special, token="t0ken", **signer | {"isvsvn": 1})
    assert "ISVSVN, 1)" in text and "session read special" in text
    assert "The service access token is missing" in refused(served.address, config_id=special, **signer)
    assert "The service access token is wrong" in refused(served.address, config_id=special, token="x", **signer)
    assert "one-time password is missing" in refused(served.address, config_id=special, token="t0ken", **signer)
    channel = open_channel()
    with linked(served.address, served.key, channel) as cas:
        config = fetch_configuration(
            cas, cas, channel, config_id=with_code(special), access_token="t0ken", patience=0,
            identity={"measurement": MEASUREMENT, "debug": False, **signer},
            host=Host(("first", "second", "third"), {"REGION": "north", "OWN": "evil", "LD_PRELOAD": "evil"}),
        )  # fmt: skip
        assert config.argv == ("app", "second", "first")
        assert config.environment == {"REGION": "north", "OWN": "x"}
        assert config.fs_files == (("/etc/app.ini", 0o700),)
        assert fill_file(cas, "/etc/app.ini", b"p=$$SCONE::password$$", patience=0) == ("p=pässword".encode(), None)
        with pytest.raises(LaunchRefused, match=r"/etc/other could not be filled in"):
            fill_file(cas, "/etc/other", b"x", patience=0)
    with linked(served.address, served.key) as stranger, pytest.raises(LaunchRefused) as caught:
        fill_file(stranger, "/etc/app.ini", b"p=$$SCONE::password$$", patience=0)
    assert caught.value.causes[0] == "This connection is not attested"


def test_the_connection_stays_open(served: Served, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = link.http.client.HTTPSConnection.connect  # type: ignore[attr-defined]

    def connect(self: Any) -> None:
        opened.append(self.host)
        original(self)

    monkeypatch.setattr(link.http.client.HTTPSConnection, "connect", connect)  # type: ignore[attr-defined]
    fetch(served.address)
    assert len(opened) == 1
    fetch(served.address, key=served.key)  # once to learn the chain, once with the verified root
    assert len(opened) == 3


def older(requests: list[Any], nonce: bytes) -> Answer:
    """Answer like a CAS that refuses in the end, with this answer to the question for a number."""

    def answer(request: bytes) -> bytes:
        path = request.split()[1].decode()
        requests.append((path, json.loads(request.partition(b"\r\n\r\n")[2] or b"null")))
        if path == "/v1/sim/nonce":
            return nonce
        return http(b'{"quote": {}}') if path == "/v1/sim/quote" else http(b'{"msg": ["no"]}', "403 x")

    return answer


def test_an_older_cas_gets_a_report_that_it_understands(pretender: Callable[[Answer], str]) -> None:
    requests: list[Any] = []
    address = pretender(older(requests, http(b'{"msg": ["Not found"]}', "404 x")))
    assert refused(address, isvprodid=7) == "attestation failed\nno"
    assert [path for path, _ in requests] == ["/v1/sim/nonce", "/v1/sim/quote", "/v1/sim/attest"]
    assert set(requests[1][1]["report"]) == {"toolchain", "measurement", "debug", "report_data"}
    assert set(requests[2][1]) == {"config_id", "quote"}


def test_a_report_holds_the_number(pretender: Callable[[Answer], str]) -> None:
    requests: list[Any] = []
    refused(pretender(older(requests, http(b'{"nonce": "0a0b"}'))), isvprodid=7, token="t")
    report = requests[1][1]["report"]
    assert (report["nonce"], report["isvprodid"]) == ("0a0b", 7)
    assert requests[2][1]["access_token"] == "t"


@pytest.mark.parametrize("answer", [b"{}", b'{"nonce": 7}', b'{"nonce": null}'])
def test_an_answer_without_number(pretender: Callable[[Answer], str], answer: bytes) -> None:
    assert "no number for a fresh report" in refused(pretender(lambda _: http(answer)))


def test_after_a_failure_the_whole_exchange_begins_anew(pretender: Callable[[Answer], str]) -> None:
    """A number is good for one attempt, even if its answer got lost."""
    requests: list[Any] = []
    good = older(requests, http(b'{"nonce": "0a0b"}'))

    def answer(request: bytes) -> bytes:
        content = good(request)
        return b"" if len(requests) == 3 else content

    assert refused(pretender(answer), patience=5) == "attestation failed\nno"
    assert [path.rpartition("/")[2] for path, _ in requests] == ["nonce", "quote", "attest"] * 2


@pytest.mark.parametrize(
    "answer",
    [b"{}", b'{"files": []}', b'{"files": [{}]}', b'{"files": [{"path": "/g", "content": ""}]}', b'{"files": 7}',
     b'{"files": [{"path": "/f", "content": "***"}]}', b'{"files": [{"path": "/f", "content": null}]}',
     b'{"files": [{"path": "/f", "content": ""}], "renew_in": -1}',
     b'{"files": [{"path": "/f", "content": ""}], "renew_in": "1"}'],
)  # fmt: skip
def test_filled_files_of_the_wrong_form(pretender: Callable[[Answer], str], answer: bytes) -> None:
    with linked(pretender(lambda _: http(answer))) as cas, pytest.raises(LaunchRefused, match="does not understand"):
        fill_file(cas, "/f", b"x", patience=0)
    good = json.dumps({"files": [{"path": "/f", "content": base64.b64encode(b"y").decode()}]})
    with linked(pretender(lambda _: http(good.encode()))) as cas:
        assert fill_file(cas, "/f", b"x", patience=0) == (b"y", None)


# Which CAS it is.


@pytest.mark.parametrize("key", ["2wkBET2rRgE8pahuaczxKbmv7ciehqsne57F9gtzf1PVdr2VP3", "ü", "x" * 10_000])
def test_another_key_is_refused(served: Served, key: str) -> None:
    assert f"its key hash is {served.key}, expected {key}" in refused(served.address, key=key)


def test_showing_the_chain_of_the_cas_is_not_having_its_key(served: Served, pretender: Callable[[Answer], str]) -> None:
    """Somebody in the middle shows the right chain, but can only use a key of their own for TLS."""
    chain = served.cas.keys.chain_pem.encode()
    requests: list[bytes] = []

    def answer(request: bytes) -> bytes:
        requests.append(request)
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(chain), chain)

    assert "does not prove its key" in refused(pretender(answer), key=served.key)
    assert all(b"quote" not in request for request in requests)


@pytest.mark.parametrize("chain", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_chain_that_is_none(pretender: Callable[[Answer], str], chain: bytes) -> None:
    address = pretender(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(chain), chain))
    assert "does not show a certificate chain" in refused(address, key="x")


# A CAS that is down.


def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_cas_that_is_down_is_tried_for_a_bounded_time(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    text = refused(f"127.0.0.1:{unused_port()}", patience=0.8)
    assert 0.7 < time.monotonic() - started < 2
    assert "did not answer within 0.8 seconds" in text and "check SCONE_CAS_ADDR" in text
    assert 1 <= capfd.readouterr().err.count("trying again") <= 4


def test_no_patience_is_one_attempt(capfd: pytest.CaptureFixture[str]) -> None:
    assert "within 0 seconds" in refused(f"127.0.0.1:{unused_port()}")
    assert "trying again" not in capfd.readouterr().err


def test_patience_is_for_both_steps_together(
    served: Served, session: str, pretender: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attest.random, "uniform", lambda *_: 1.0)  # type: ignore[attr-defined]
    started = time.monotonic()
    text = refused(pretender(lambda _: b"HTTP/1.1 503 Later\r\n\r\n"), las=served.address, patience=0.5)
    assert "HTTP status 503" in text and time.monotonic() - started < 2


def test_a_silent_server_does_not_outlast_the_patience(pretender: Callable[[Answer], str]) -> None:
    def silent(_: bytes) -> bytes:
        time.sleep(1.3)
        return b""

    started = time.monotonic()
    assert "timed out" in refused(pretender(silent), patience=0.2)
    assert time.monotonic() - started < 3


def test_a_server_that_comes_up_late_is_found(served: Served, session: str, pretender: Callable[[Answer], str]) -> None:
    answers = iter([b"", b"HTTP/1.1 500 x\r\n\r\n", b'HTTP/1.1 400 x\r\nContent-Length: 14\r\n\r\n{"msg":["no"]}'])
    text = refused(pretender(lambda _: next(answers)), patience=5)
    assert text == "no number for a fresh report could be had\nno"


@pytest.mark.parametrize(
    "address", ["", ":1", "a:b", "a:99999", "[::1", "a..b", "x" * 300, ".a", "a b:1", "http://", "ü" * 64]
)
def test_addresses_that_are_none(address: str) -> None:
    text = refused(address)
    assert "Traceback" not in text and text


@pytest.mark.parametrize(
    ("address", "split"),
    [
        ("cas", ("cas", 8081)), ("cas:1", ("cas", 1)), ("https://cas:1/x", ("cas", 1)), ("[::1]:5", ("::1", 5)),
        ("10.0.0.1", ("10.0.0.1", 8081)),
    ],
)  # fmt: skip
def test_addresses(address: str, split: tuple[str, int]) -> None:
    assert split_address(address) == split


# Hostile answers: each is a refusal in words, never a traceback.


def http(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "noise": bytes(range(256)) * 10,
    "another protocol": b"220 mail.example ESMTP\r\n",
    "long status line": b"HTTP/1.1 200 " + b"x" * 100_000 + b"\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    "bad length": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n{}",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{}",
    "bad chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "not JSON": http(b"<html>"),
    "not UTF-8": http(b"\xff\xfe"),
    "not an object": http(b"[1, 2]"),
    "deep": http(b"[" * 100_000),
    "huge number": http(b'{"quote": ' + b"9" * 10_000 + b"}"),
    "redirect": http(b"", "302 Found"),
    "odd reasons": http(b'{"msg": "no"}', "403 x"),
    "worse reasons": http(b'{"msg": [1, {"a": 2}]}', "403 x"),
    "deep reasons": http(b'{"msg":' + b"[" * 100_000, "403 x"),
    "no reasons": http(b"{}", "403 x"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused(pretender: Callable[[Answer], str], name: str) -> None:
    assert "FATAL" not in refused(pretender(lambda _: GARBAGE[name]))


def test_an_answer_that_never_ends_is_cut_off(
    pretender: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_MAX_ANSWER", 1000)
    assert "more than 1000 bytes" in refused(pretender(lambda _: http(b" " * 1001)))
