"""The launcher's side of attestation: against the real CAS, and against servers that are broken or hostile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from sconectl.runtime import attest
from sconectl.runtime.attest import CasLink, Configuration, _configuration, fetch_configuration, open_channel
from sconectl.runtime.log import LaunchRefused

from .conftest import Answer, Served

pytestmark = pytest.mark.sockets

MEASUREMENT = "ab" * 32
SESSION = f"""
name: NAME
version: "0.3.11"
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


def fetch(
    cas: str, *, key: str = "", las: str = "", config_id: str = "acme/app", measurement: str = MEASUREMENT,
    debug: bool = False, patience: float = 0.0,
) -> Configuration:  # fmt: skip
    channel = open_channel()
    link = CasLink(cas, key, channel, timeout=5)
    quoting = CasLink(las, "", channel, timeout=5) if las else link
    return fetch_configuration(
        link, quoting, channel, config_id=config_id, measurement=measurement, debug=debug, patience=patience
    )


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
        fspf=("/scone/image/fs.fspf", bytes.fromhex("cd" * 32), "ef" * 16),
    )
    assert "pässword" not in repr(config)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"measurement": "00" * 32},
            f"Unexpected enclave measurement (MRENCLAVE, {'00' * 32}) - Expected {MEASUREMENT}",
        ),
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


def test_a_quote_of_another_channel_is_useless(served: Served, session: str, monkeypatch: pytest.MonkeyPatch) -> None:
    other = open_channel()
    channel = open_channel()
    link = CasLink(served.address, "", channel, timeout=5)
    with pytest.raises(LaunchRefused) as caught:
        fetch_configuration(link, link, other, config_id="acme/app", measurement=MEASUREMENT, debug=False, patience=0)
    assert "does not belong to this connection" in "".join(caught.value.causes)


def test_the_key_of_the_channel_never_touches_the_disk() -> None:
    channel = open_channel()
    assert b"PRIVATE KEY" in channel.pem and "PRIVATE" not in repr(channel)


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
    assert refused(pretender(lambda _: next(answers)), patience=5) == "no quote could be had\nno"


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
    assert attest.split_address(address) == split


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
    monkeypatch.setattr(attest, "_MAX_ANSWER", 1000)
    assert "more than 1000 bytes" in refused(pretender(lambda _: http(b" " * 1001)))


GOOD: dict[str, Any] = {
    "session": "s", "service": "a", "argv": ["x"], "environment": {"A": "1"}, "pwd": "/",
    "files": [{"path": "/f", "permission": 384, "content": "eA=="}],
    "fspf": {"path": "/p", "key": "00" * 32, "tag": "11" * 16},
}  # fmt: skip
WRONG: list[Any] = [7, True, [7], {"a": 7}, [[]], "\udc80", "\0", None]
FILE = GOOD["files"][0]
ODD: list[dict[str, Any]] = [
    *({name: value} for name in GOOD for value in WRONG if (name, value) != ("fspf", None)),
    {"argv": "text"}, {"argv": {"x": "y"}}, {"environment": [["A", "1"]]}, {"environment": {"": "x"}},
    {"environment": {"A=B": "x"}}, {"environment": {"A\0": "x"}}, {"environment": {"A": "x\0"}},
    {"environment": {"A": "\ud800"}}, {"pwd": ""}, {"pwd": "relative"}, {"pwd": "/a/../b"}, {"files": {}},
    {"files": "text"}, {"fspf": {}}, {"fspf": False},
    *({"files": [FILE | {"path": path}]} for path in ("f", "/../f", 7)),
    *({"files": [FILE | {"permission": permission}]} for permission in ("384", True, -1, 1e3, 1 << 40)),
    *({"files": [FILE | {"content": content}]} for content in ("***", None, "eA")),
    *({"fspf": GOOD["fspf"] | {"key": key}} for key in ("zz", "", None, 7, "00" * 31)),
    *({"fspf": GOOD["fspf"] | changed} for changed in ({"path": None}, {"path": "p"}, {"tag": 7})),
]  # fmt: skip


@pytest.mark.parametrize("changes", ODD, ids=range(len(ODD)))
def test_configurations_of_the_wrong_form_are_refused(changes: dict[str, Any]) -> None:
    document = json.loads(json.dumps({"config": GOOD | changes}))
    with pytest.raises(LaunchRefused, match="does not understand"):
        _configuration(document)


def test_the_right_form_is_taken() -> None:
    config = _configuration({"config": GOOD | {"more": "from a newer CAS"}})
    assert config.files == (("/f", 0o600, b"x"),)
    assert _configuration({"config": GOOD | {"fspf": None, "files": [], "environment": {}}}).fspf is None
    assert _configuration({"config": GOOD | {"fspf": GOOD["fspf"] | {"tag": None}}}).fspf == ("/p", bytes(32), "")


@pytest.mark.parametrize("document", [{}, {"config": None}, {"config": []}, {"config": "x"}, {"config": {}}])
def test_no_configuration(document: dict[str, Any]) -> None:
    with pytest.raises(LaunchRefused, match="does not understand"):
        _configuration(document)
