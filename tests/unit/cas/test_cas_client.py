"""Both kinds of session store: over TLS with a pinned key, and in-process."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from pathlib import Path

import pytest

from sconectl.cas import daemon
from sconectl.cas.client.http_cas import normal_address
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.connect import connect
from sconectl.cas.keys import certificates
from sconectl.cas.keys.certificates import Holder
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.errors import CasError, CasNotTrusted, CasRefused, CasUnreachable, UsageError
from sconectl.ports import SessionStore

from .conftest import Served, session_text

pytestmark = pytest.mark.sockets


@pytest.fixture(params=["local", "https"])
def store(request: pytest.FixtureRequest, served: Served, tmp_path: Path) -> SessionStore:
    url = "local" if request.param == "local" else f"https://{served.address}"
    return connect(url, config_dir=tmp_path / "config", data_dir=served.cas.directory)


def other(store: SessionStore, served: Served, tmp_path: Path) -> SessionStore:
    url = "local" if store.address == "local" else store.address
    return connect(url, config_dir=tmp_path / "other", data_dir=served.cas.directory)


def test_create_read_update(store: SessionStore) -> None:
    assert store.read("acme") is None
    first = store.put(session_text())
    read = store.read("acme")
    assert read is not None
    assert read.hash == first
    second = store.put(session_text(body=f"predecessor: {first}\nsecrets: [{{name: x, kind: ascii}}]"))
    assert second != first
    assert store.put(session_text("acme/näh".replace("ä", "ae"))) != second


def test_refusals_carry_status_causes_and_a_hint(store: SessionStore, served: Served, tmp_path: Path) -> None:
    stranger = other(store, served, tmp_path)
    older = store.put(session_text())
    first = store.put(session_text(body=f"predecessor: {older}\nsecrets: [{{name: x, kind: ascii}}]"))
    cases = [
        (store, session_text(body="salt: " + "ab" * 16), 409, "predecessor"),
        (store, session_text(body=f"predecessor: {older}"), 409, "in between"),
        (store, session_text(body="predecessor: " + "0" * 64), 404, "no version of this session"),
        (store, session_text("new", "predecessor: " + "0" * 64), 404, "predecessor"),
        (store, session_text("ghost/child"), 404, "namespace"),
        (store, "name: [", 400, "correct"),
        (stranger, session_text("acme/child"), 403, "belongs to somebody else"),
        (stranger, session_text(body=f"predecessor: {first}"), 403, "another identity"),
    ]
    for who, text, status, hint in cases:
        with pytest.raises(CasRefused) as caught:
            who.put(text)
        assert caught.value.status == status
        assert hint in caught.value.hint
        assert caught.value.causes
    with pytest.raises(CasRefused) as caught:
        stranger.read("acme")
    assert caught.value.status == 403


def test_first_contact_is_pinned_and_told_once(served: Served, tmp_path: Path) -> None:
    told: list[str] = []
    for _ in range(2):
        connect(served.address, config_dir=tmp_path / "c", data_dir=tmp_path, notify=told.append)
    assert [line for line in told if not line.startswith("warning: ")] == told[:1]
    assert len(told) == 3  # that it is a simulation is told each time
    assert served.cas.keys.cas_key_hash in told[0]
    assert CasConfig(tmp_path / "c").pinned(served.address) == served.cas.keys.cas_key_hash


def test_a_changed_key_is_refused_with_both_hashes(served: Served, tmp_path: Path) -> None:
    config = CasConfig(tmp_path / "c")
    another = EmbeddedCas(tmp_path / "another").keys.cas_key_hash
    config.pin(served.address, another)
    with pytest.raises(CasNotTrusted) as caught:
        connect(served.address, config_dir=tmp_path / "c", data_dir=tmp_path)
    assert another in caught.value.message
    assert served.cas.keys.cas_key_hash in caught.value.message
    assert caught.value.hint
    with pytest.raises(CasNotTrusted):
        connect(served.address, config_dir=tmp_path / "d", data_dir=tmp_path, cas_key=another)
    assert CasConfig(tmp_path / "d").pinned(served.address) is None
    right = served.cas.keys.cas_key_hash
    connect(served.address, config_dir=tmp_path / "c", data_dir=tmp_path, cas_key=right)
    assert config.pinned(served.address) == right
    with pytest.raises(CasNotTrusted):
        connect("local", config_dir=tmp_path / "c", data_dir=served.cas.directory, cas_key=another)


def test_showing_the_right_chain_is_not_owning_its_key(served: Served, tmp_path: Path) -> None:
    """Somebody in between can copy the chain, but not serve a certificate below it."""
    key = certificates.new_key()
    fake = Holder(key, certificates.issue_root(key, "fake"))
    leaf_key = certificates.new_key()
    leaf = certificates.issue_server(leaf_key, "cas", ["localhost"], fake)
    pem = tmp_path / "fake.pem"
    pem.write_text(certificates.key_pem(leaf_key) + certificates.certificate_pem(leaf))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    chain = served.cas.keys.chain_pem.encode()
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(chain), chain)

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def impersonate() -> None:
            for _ in range(2):
                connection, _peer = listening.accept()
                with connection:
                    try:
                        with context.wrap_socket(connection, server_side=True) as tls:
                            tls.recv(4096)
                            tls.sendall(answer)
                    except OSError:
                        continue

        thread = threading.Thread(target=impersonate)
        thread.start()
        with pytest.raises(CasNotTrusted, match="cannot prove"):
            connect(f"127.0.0.1:{listening.getsockname()[1]}", config_dir=tmp_path / "c", data_dir=tmp_path)
        thread.join(20)
    assert json.loads((tmp_path / "c" / "config.json").read_text()).keys() == {"identity"}


def test_nobody_there_and_somebody_else_there(tmp_path: Path) -> None:
    with daemon.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(CasUnreachable, match="no CAS answers") as caught:
        connect(f"127.0.0.1:{port}", config_dir=tmp_path, data_dir=tmp_path)
    assert "cas serve" in caught.value.hint
    with pytest.raises(CasUnreachable):
        connect("no-such-host.invalid", config_dir=tmp_path, data_dir=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def answer() -> None:
            for _ in range(3):
                connection, _ = plain.accept()
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 no TLS here\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CasUnreachable, match="TLS"):
            connect(f"127.0.0.1:{plain.getsockname()[1]}", config_dir=tmp_path, data_dir=tmp_path)
        thread.join(20)


def test_addresses() -> None:
    assert normal_address("cas.example.net") == "cas.example.net:8081"
    assert normal_address("https://cas:1234/") == "cas:1234"
    assert normal_address("[::1]:8081") == "[::1]:8081"
    for wrong in ("", "http://cas", "cas/path", "user@cas", "cas:port", "cas:99999", "a b"):
        with pytest.raises(UsageError):
            normal_address(wrong)


def test_identity_lasts_is_private_and_keeps_foreign_entries(tmp_path: Path) -> None:
    directory = tmp_path / "cas"
    first = CasConfig(directory).identity()
    assert CasConfig(directory).identity() == first
    assert first.key_pem not in repr(first)
    assert directory.stat().st_mode & 0o777 == 0o700
    for name in ("config.json", "identity.pem"):
        assert (directory / name).stat().st_mode & 0o777 == 0o600
    config = json.loads((directory / "config.json").read_text())
    assert config["identity"] == first.key_pem + first.certificate_pem
    (directory / "config.json").write_text(json.dumps(config | {"default_cas": "x"}))
    CasConfig(directory).pin("cas:8081", "hash")
    assert json.loads((directory / "config.json").read_text())["default_cas"] == "x"
    assert CasConfig(directory).identity() == first


@pytest.mark.parametrize("content", ["{", "[]", '{"identity": "nonsense"}', '{"identity": 7}'])
def test_a_broken_identity_is_not_replaced(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(content)
    with pytest.raises(CasError) as caught:
        CasConfig(tmp_path).identity()
    assert "backup" in caught.value.hint
    assert file.read_text() == content


def test_identity_is_made_once_by_many(tmp_path: Path) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(CasConfig(tmp_path / "c").identity().key_hash)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
