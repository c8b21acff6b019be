"""The operator: custom resources of a cluster become sessions, once, and say what became of them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fakes.kubernetes import TOKEN, Cluster, running_cluster
from hypothesis import given
from hypothesis import strategies as st

from sconectl.artefacts.policy_resources import policy_resource
from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.cas.operator.controller import Controller
from sconectl.cas.operator.kubernetes_api import ApiFault, KubernetesApi
from sconectl.cas.operator.resources import addresses, status_after, wanted
from sconectl.errors import CasUnreachable, UsageError
from sconectl.policy.reading import parse_session
from sconectl.policy.serialized.canonical import session_hash
from sconectl.policy.signed_session import EncryptedSession, SignedSession, encrypt, message_to_sign, signer_of

pytestmark = pytest.mark.sockets

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
CAS = "cas.scone-system"


def signed(name: str, *, predecessor: str = "", size: int = 7) -> SignedSession:
    head = f"predecessor: {predecessor}\n" if predecessor else ""
    access = "read: [NONE], update: [CREATOR], create_sessions: [CREATOR]"
    text = (
        f"name: {name}\nversion: 0.3.12\n{head}creator: {{signer: '{signer_of(KEY.public_key()).signer}'}}\n"
        f"access_policy: {{{access}}}\nsecrets: [{{name: s, kind: ascii, size: {size}}}]\n"
    )
    return SignedSession(text, ()).with_signature(signer_of(KEY.public_key()), KEY.sign(message_to_sign(text)))


def hash_of(session: SignedSession) -> str:
    return session_hash(parse_session(session.session))


class Bench:
    """A cluster, a CAS, and an operator."""

    def __init__(self, cluster: Cluster, root: Path) -> None:
        self.cluster, self.log = cluster, list[str]()
        self.cas = LocalCas(root / "cas", CasConfig(root / "operator"))
        self.reachable, self.connections, self.uploads = True, 0, list[str]()
        token = root / "token"
        token.write_text(f"{TOKEN}\n")
        self.api = KubernetesApi(cluster.address, token, None)

    def connect(self) -> Any:
        self.connections += 1
        if not self.reachable:
            raise CasUnreachable("no CAS answers", hint="start it")
        bench = self

        class Store:
            def upload(self, text: str) -> Any:
                bench.uploads.append(text)
                if not bench.reachable:
                    raise CasUnreachable("no CAS answers", hint="start it")
                return bench.cas.upload(text)

        return Store()

    def controller(self, *namespaces: str) -> Controller:
        return Controller(self.api, self.connect, addresses((CAS,)), namespaces or ("",), self.log.append)

    def hash(self, name: str) -> str | None:
        stored = self.cas.hash_of(name)
        return stored


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with running_cluster() as cluster:
        found = Bench(cluster, tmp_path)
        yield found
        found.api.close()


@given(st.text(st.characters(codec="utf-8")), st.binary(), st.binary())
def test_a_resource_gives_the_document_back(text: str, signature: bytes, ciphertext: bytes) -> None:
    one = SignedSession(text, ()).with_signature(signer_of(KEY.public_key()), signature)
    other = EncryptedSession(ciphertext, "ab" * 32)
    for document in (one, other):
        found = wanted(policy_resource("shop/web", "cas", document))
        assert found is not None and json.loads(found.document) == json.loads(document.to_json())


def test_sessions_are_brought_in_whatever_the_order(bench: Bench) -> None:
    """The namespace is the last of them by name; the others wait for it."""
    ns, web = signed("zoo"), signed("zoo/web")
    bench.cluster.put(policy_resource("a-web", CAS, web))
    bench.cluster.put(
        policy_resource("b-ns", f"{CAS}:8081", encrypt(ns.to_json().encode(), bench.cas.encryption_key()))
    )
    assert bench.controller().once()
    for name, session in (("a-web", web), ("b-ns", ns)):
        status = bench.cluster.status(name)
        assert (status["status"], status["reason"], status["observedGeneration"]) == ("True", "Active", 1)
        assert status["hash"] == hash_of(session)
    assert len(bench.cluster.patches) == 2


def test_what_is_there_is_left_alone(bench: Bench) -> None:
    bench.cluster.put(policy_resource("zoo", CAS, signed("zoo")))
    assert bench.controller().once()
    patches, lines = len(bench.cluster.patches), len(bench.log)
    for _ in range(3):
        assert bench.controller().once()  # as after a restart: the CAS says unchanged
    assert (len(bench.cluster.patches), len(bench.log)) == (patches, lines)


def test_objects_for_another_cas_are_left_to_others(bench: Bench) -> None:
    bench.cluster.put(policy_resource("zoo", "other.scone-system", signed("zoo")))
    bench.cluster.put(policy_resource("port", f"{CAS}:9999", signed("port")))
    assert bench.controller().once()
    assert (bench.uploads, bench.cluster.patches) == ([], [])


def test_only_the_namespaces_that_are_named(bench: Bench) -> None:
    bench.cluster.put(policy_resource("a", CAS, signed("a")), "shop")
    bench.cluster.put(policy_resource("b", CAS, signed("b")), "bank")
    assert bench.controller("shop").once()
    assert bench.cluster.status("a")["reason"] == "Active" and bench.cluster.status("b") == {"hash": ""}


def test_a_chart_that_is_rolled_back_changes_nothing_in_the_cas(bench: Bench) -> None:
    first = signed("zoo")
    second = signed("zoo", predecessor=hash_of(first), size=8)
    for session in (first, second):
        bench.cluster.put(policy_resource("zoo", CAS, session), recreate=True)
        assert bench.controller().once()
        assert bench.cluster.status("zoo")["hash"] == hash_of(session)
    bench.cluster.put(policy_resource("zoo", CAS, first), recreate=True)  # what a rollback with hooks would do
    assert not bench.controller().once()
    status = bench.cluster.status("zoo")
    assert (status["status"], status["reason"]) == ("False", "Superseded") and status["message"]
    bench.cluster.put(policy_resource("zoo", CAS, second), recreate=True)
    assert bench.controller().once()
    assert bench.cluster.status("zoo")["reason"] == "Active"


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"policy": 5},
        {"policy": "x", "signatures": "y"},
        {"policy": "x", "signatures": [{"signer": "z"}]},
        {"policy": "x", "signatures": [5]},
    ],
)
def test_a_malformed_object_says_so_and_stops_nobody(bench: Bench, spec: dict[str, Any]) -> None:
    resource = policy_resource("bad", CAS, signed("bad"))
    bench.cluster.put({**resource, "spec": {"casAddress": f"https://{CAS}", **spec}})
    bench.cluster.put(policy_resource("zoo", CAS, signed("zoo")))
    assert not bench.controller().once()
    assert bench.cluster.status("bad")["reason"] == "Invalid"
    assert bench.cluster.status("zoo")["reason"] == "Active"


def test_what_the_cas_refuses_is_told(bench: Bench) -> None:
    session = signed("zoo")
    forged = SignedSession(session.session.replace("size: 7", "size: 9"), session.signatures)
    bench.cluster.put(policy_resource("zoo", CAS, forged))
    assert not bench.controller().once()
    status = bench.cluster.status("zoo")
    assert status["reason"] == "Refused" and "signature" in status["message"]


def test_many_objects_come_in_pages(bench: Bench) -> None:
    for number in range(450):
        bench.cluster.put(policy_resource(f"s{number}", "elsewhere", signed(f"s{number}")))
    bench.cluster.put(policy_resource("zzz", CAS, signed("zzz")))
    assert bench.controller().once()
    assert bench.cluster.status("zzz")["reason"] == "Active"


def test_a_server_that_refuses_is_a_fault_with_a_remedy(bench: Bench) -> None:
    for status, word in ((401, "token"), (403, "ClusterRole"), (404, "custom resource definitions"), (500, "")):
        bench.cluster.answer = status
        with pytest.raises(ApiFault) as caught:
            bench.controller().once()
        assert str(status) in caught.value.message and word in caught.value.hint


def awaited(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_goes_on_and_on(bench: Bench) -> None:
    """New and changed objects, a watch that is too old, a CAS that is away, an API server that is."""
    stop = threading.Event()
    bench.cluster.gone = 2
    running = threading.Thread(target=bench.controller().run, args=(stop,), daemon=True)
    running.start()
    try:
        first = signed("zoo")
        bench.cluster.put(policy_resource("zoo", CAS, first))
        awaited(lambda: bench.cluster.status("zoo").get("reason") == "Active")
        bench.reachable = False
        second = signed("zoo", predecessor=hash_of(first), size=8)
        bench.cluster.put(policy_resource("zoo", CAS, second))
        awaited(lambda: bench.cluster.status("zoo").get("reason") == "CasUnreachable")
        assert bench.cluster.status("zoo")["observedGeneration"] == 2
        bench.reachable = True
        awaited(lambda: bench.cluster.status("zoo").get("hash") == hash_of(second))
        bench.cluster.answer = 503
        time.sleep(0.3)
        bench.cluster.answer = 200
        bench.cluster.put(policy_resource("late", CAS, signed("late")))
        awaited(lambda: bench.cluster.status("late").get("reason") == "Active")
        uploads = len(bench.uploads)
        bench.cluster.put(policy_resource("late", CAS, signed("late")))  # the same again
        time.sleep(1)
        assert len(bench.uploads) == uploads
        bench.cluster.put(policy_resource("late", CAS, signed("late")), recreate=True)  # as a hook of Helm does
        awaited(lambda: bench.cluster.status("late").get("reason") == "Active")
    finally:
        stop.set()
        running.join(10)
    assert not running.is_alive()


@pytest.mark.parametrize("told", [True, False], ids=["watched", "while nobody watched"])
def test_what_was_deleted_before_it_was_brought_in_never_is(bench: Bench, told: bool) -> None:
    bench.cluster.put(policy_resource("web", CAS, signed("zoo/web")))  # waits for its namespace
    stop = threading.Event()
    running = threading.Thread(target=bench.controller().run, args=(stop,), daemon=True)
    running.start()
    try:
        awaited(lambda: bench.cluster.status("web").get("reason") == "Refused")
        bench.cluster.delete("web", told=told)
        if not told:
            bench.cluster.requests.clear()
            bench.cluster.gone = 1_000_000
            awaited(lambda: sum("signedpolicies" in request for request in bench.cluster.requests) > 4)
            bench.cluster.gone = 0
        time.sleep(0.5)
        bench.cluster.put(policy_resource("zoo", CAS, signed("zoo")))
        awaited(lambda: bench.cluster.status("zoo").get("reason") == "Active")
        time.sleep(2)
    finally:
        stop.set()
        running.join(10)
    assert [line for line in bench.log if line.endswith(": created")] == ["SignedPolicy apps/zoo: created"]


@pytest.mark.parametrize("url", ["http://[::1", "http://h:x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="no address of an API server"):
        KubernetesApi(url, None, None)


def test_a_token_that_is_none(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(ApiFault, match="holds no token"):
        bench.controller().once()


def test_a_status_keeps_its_time_while_it_is_the_same() -> None:
    resource = {**policy_resource("a", CAS, signed("a"))}
    resource["metadata"] = {**resource["metadata"], "generation": 1}
    from sconectl.cas.operator.resources import Verdict

    good, bad = Verdict(True, "Active", "m", "h"), Verdict(False, "Refused", "n")
    first = status_after(resource, bad, "t1")
    assert first is not None and first["conditions"][0]["lastTransitionTime"] == "t1"
    resource["status"] = first
    assert status_after(resource, bad, "t2") is None
    other = status_after(resource, Verdict(False, "Refused", "other"), "t2")
    assert other is not None and other["conditions"][0]["lastTransitionTime"] == "t1"
    changed = status_after(resource, good, "t3")
    assert changed is not None and changed["conditions"][0]["lastTransitionTime"] == "t3"
    assert changed["sessionHash"] == "h"
