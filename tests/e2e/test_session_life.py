"""Sessions from their first upload to their end, over the network, with the installed command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .black_box import OutsideCas

SERVICE = """\
name: shop/web
version: "0.3.10"
security: {attestation: {mode: none}}
services: [{name: web, command: web $$SCONE::token:hex$$}]
secrets: [{name: token, kind: binary}]
"""


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OutsideCas]:
    outside = OutsideCas(tmp_path_factory.mktemp("life"))
    outside.start()
    yield outside
    outside.stop()


class Person:
    """Somebody with an identity of their own, who works with a CAS over the network."""

    def __init__(self, cas: OutsideCas, folder: Path) -> None:
        self.cas, self.folder = cas, folder

    def __call__(self, *words: str, code: int = 0) -> str:
        config = ("--cas-config", str(self.folder))
        address = () if words[0] == "identity" else ("--cas", self.cas.address)
        return self.cas.command(*words, *address, *config, code=code).decode()

    def create(self, text: str, *, code: int = 0) -> str:
        file = self.folder.with_suffix(".yaml")
        file.write_text(text)
        return self("session", "create", str(file), code=code).strip()


def states(person: Person, namespace: str) -> dict[str, str]:
    listed = json.loads(person("session", "list", namespace, "-r", "--output", "json"))["sessions"]
    return {session["name"]: session["state"] for session in listed}


def test_from_the_first_upload_to_the_end(cas: OutsideCas, tmp_path: Path) -> None:
    me, stranger = Person(cas, tmp_path / "me"), Person(cas, tmp_path / "stranger")
    hashes = [me.create(text) for text in ('name: shop\nversion: "0.3.10"\n', SERVICE)]
    assert [me.create(text) for text in ('name: shop\nversion: "0.3.10"\n', SERVICE)] == hashes
    stranger.create(SERVICE, code=6)
    assert states(me, "shop") == {"shop/web": "active"}
    weaker = tmp_path / "weaker.yaml"
    weaker.write_text(SERVICE + 'access_policy: {read: [ANY]}\nsalt: "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"\n')
    told = me("session", "diff", "cas:shop/web", str(weaker), "--fail-on", "weakens", code=7)
    assert "  ! read: everybody may [SC5061]\n" in told
    me("session", "diff", str(weaker), str(weaker), "--fail-on", "weakens")
    (retired,) = me("session", "retire", "shop/web").split()
    assert states(me, "shop") == {"shop/web": "retired"}
    lines = me("session", "history", "shop/web").splitlines()
    assert [line.split()[1] for line in lines] == [retired, hashes[1]]
    assert me("session", "retire", "shop/web").split() == [retired]
    assert "services:" in me("session", "read", "shop/web", "--hash", hashes[1])


def test_a_new_key_for_what_one_owns(cas: OutsideCas, tmp_path: Path) -> None:
    me, copy = Person(cas, tmp_path / "me"), Person(cas, tmp_path / "copy")
    old = me("identity", "new").split()[2]
    copy.folder.mkdir()
    (copy.folder / "identity.pem").write_bytes((me.folder / "identity.pem").read_bytes())
    assert copy("identity", "show").split()[2] == old
    me.create('name: mine\nversion: "0.3.10"\n')
    rotate = ("identity", "rotate", "--cas", cas.address, "--namespace", "mine")
    new = me(*rotate).strip()
    assert new != old and me("session", "read", "mine") == copy("session", "read", "mine")
    assert me("identity", "rotate", "--finish").strip() == new
    me("session", "read", "mine")
    copy("session", "read", "mine", code=6)
