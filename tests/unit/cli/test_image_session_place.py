"""The facts of an image get into the CAS in which its mesh looks for them; where they are missing, it is said why."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text
from fakes.stores import MemorySessionStore

from sconectl.cas import connect

from .conftest import Run

APPLY = ("apply", "-q", "--base-image", "python=base:1", "-n")
BOTH = (*APPLY, "-f", "web.yaml", "-f", "mesh.yaml")
IMAGE = "image~registry.example.org~web~~1"
Stores = dict[str, MemorySessionStore]


@pytest.fixture
def stores(project: Path, monkeypatch: pytest.MonkeyPatch) -> Stores:
    """Return the CASes that are asked, by address; beside them stand a service and its mesh."""
    found: Stores = {}

    def connected(address: str, **_settings: Any) -> MemorySessionStore:
        if address not in found:
            found[address] = MemorySessionStore(project.parent / "cas" / address)
            found[address].address = address
        return found[address]

    monkeypatch.setattr(connect, "connect", connected)
    Path("main.py").write_text("")
    Path("web.yaml").write_text(service_text(copy=["main.py"]))
    Path("mesh.yaml").write_text(mesh_text())
    return found


def keepers(stores: Stores) -> list[str]:
    return [address for address, store in stores.items() if IMAGE in store.put_log]


def test_the_mesh_of_the_run_says_where(run: Run, stores: Stores) -> None:
    done = run(*BOTH)
    assert done.code == 0, done.err
    assert f"session {IMAGE}: created (CAS cas.example.org)" in done.out
    assert list(stores) == ["cas.example.org"]
    shutil.rmtree("target")  # elsewhere, only the image and the CAS are there
    assert run(*APPLY, "-f", "mesh.yaml").code == 0


def test_the_role_image_counts(run: Run, stores: Stores) -> None:
    text = mesh_text().replace("- name: cas\n", "- {name: image, cas_url: images.example.org}\n  - name: cas\n")
    Path("mesh.yaml").write_text(text)
    assert run(*BOTH).code == 0
    assert keepers(stores) == ["images.example.org"]


@pytest.mark.parametrize(
    ("words", "config"),
    [(("--cas", "other.example.org"), ""), ((), '[cas]\nimage = "other.example.org"\n')],
)
def test_what_is_asked_for_wins(run: Run, stores: Stores, words: tuple[str, ...], config: str) -> None:
    if config:
        Path("sconectl.toml").write_text(config)
    assert run(*BOTH, *words).code == 0
    assert keepers(stores) == ["other.example.org"]


def test_a_cas_is_reached_elsewhere_than_in_the_cluster(run: Run, stores: Stores) -> None:
    Path("sconectl.toml").write_text('[cas_addresses]\n"cas.scone-system" = "127.0.0.1:9"\n')
    for given in ("cas.scone-system", "https://cas.scone-system:8081"):
        Path("mesh.yaml").write_text(mesh_text().replace("cas.example.org", given))
        for words in (BOTH, ("plan", "-f", "mesh.yaml"), (*APPLY, "-p", "-f", "mesh.yaml")):
            done = run(*words)
            assert done.code == 0, done.err
    assert list(stores) == ["127.0.0.1:9"] and keepers(stores) == ["127.0.0.1:9"]
    chart = Path("target/helm/charts/web/values.yaml").read_text()
    assert "cas.scone-system" in chart and "127.0.0.1" not in chart
    assert "127.0.0.1" not in Path("sconectl.lock").read_text()
    assert run("session", "list", "--cas", "cas.scone-system").code == 0
    assert run("audit", "--namespace", "x", "--cas", "cas.scone-system").code in (0, 2, 4, 7)
    assert list(stores) == ["127.0.0.1:9"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("registry.example.org/web:1", "registry.example.org/db:1"),
        ("cas.example.org", "cas.example.org\n    mode: NoUpload"),
    ],
    ids=["of another image", "that uploads nothing"],
)
def test_a_mesh_that_has_no_say(run: Run, stores: Stores, old: str, new: str) -> None:
    Path("db.yaml").write_text(service_text("db", copy=["main.py"]))
    assert run(*APPLY, "-f", "db.yaml").code == 0
    assert list(stores) == ["local"]
    Path("mesh.yaml").write_text(mesh_text().replace(old, new))
    assert run(*BOTH).code == 0
    assert keepers(stores) == ["local"]


def test_a_service_alone_and_then_elsewhere(run: Run, stores: Stores) -> None:
    assert run(*APPLY, "-f", "web.yaml").code == 0
    assert keepers(stores) == ["local"]
    shutil.rmtree("target")
    done = run(*APPLY, "-f", "mesh.yaml", "-t", "out")
    assert done.code == 4 and "SC2008" in done.err
    for said in (
        "its label (in the container engine) was found",
        "out/images does not know it",
        f"session {IMAGE} of CAS cas.example.org, where this mesh looks for them, has none",
        "`sconectl apply -f <service manifest> --cas cas.example.org` brings them there",
        "--facts",
    ):
        assert said in " ".join(done.err.split())
    assert run(*APPLY, "-f", "web.yaml", "--cas", "cas.example.org").code == 0  # the remedy
    shutil.rmtree("target")
    assert run(*APPLY, "-f", "mesh.yaml", "-t", "out").code == 0
