"""`plan` shows volumes: where they are, who shares them, what their storage shows, and what can be taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text
from ruamel.yaml import YAML

from sconectl.text.yaml_text import dump

from .conftest import Outcome, Run

DATA = {"name": "data", "path": "/data", "export": [{"session": "db", "update_policy": "ephemeral"}]}
LOGS = {"name": "logs", "path": "/logs", "tags": "bounded", "export": [{"session": "far/away"}]}
THEIRS = {"name": "theirs", "path": "/x", "import": {"session": "web", "volume": "data"}}
ALL = ("-f", "web.yaml", "-f", "db.yaml", "-f", "mesh.yaml", "--base-image", "python=base:1", "--dry-run")


@pytest.fixture
def shop(project: Path, run: Run) -> Any:
    """Return a function that plans a mesh of two services, with volumes in the first and one of them in the second."""
    (project / "main.py").write_text("print(1)")
    (project / "web.yaml").write_text(service_text("web", copy=["main.py"], volumes=[DATA, LOGS]))
    (project / "db.yaml").write_text(service_text("db", copy=["main.py"], volumes=[THEIRS]))
    (project / "mesh.yaml").write_text(mesh_text(["web", "db"]))

    def plan(*words: str) -> Outcome:
        done = run("plan", *ALL, *words)
        assert done.code == 0, done.err
        return done

    return plan


def test_the_text_says_where_and_who(shop: Any) -> None:
    text = " ".join(shop().out.split())
    assert "- data at /data, storage at /scone/volumes/data: tags strict; shared with db (ephemeral) -" in text
    assert "- logs at /logs, storage at /scone/volumes/logs: tags bounded; shared with far/away MEASURED" in text
    assert "- volume: that there is one, and where; not what is in it" in text
    assert "- web: data at /data, storage at /scone/volumes/data: tags strict; shared with shop/db (ephemeral)" in text
    assert (
        "- db: theirs at /x, storage at /scone/volumes/theirs: it is data of shop/web; ephemeral; tags strict" in text
    )


def test_the_text_says_what_the_storage_shows_and_what_can_be_taken_back(shop: Any) -> None:
    text = " ".join(shop().out.split())
    for before, names in (("volume, ", ("data, logs", "data", "logs")), ("", ("web's data, web's logs", "web's data"))):
        assert f"{before}storage of {names[0]}" in text
    shown = "names, directories, sizes and times of files, and no contents; a change stops the next start"
    assert f"storage of web's data, web's logs, db's theirs: {shown}" in text
    assert "storage of web's data: nothing that a sync of the program has acknowledged can be taken back" in text
    assert "storage of web's logs: at most what the CAS does not know yet, 100 ms of syncs, can be" in text
    assert "storage of db's theirs: nothing is written to the storage (ephemeral)" in text


def test_programs_read_the_same(shop: Any) -> None:
    web, db, mesh = json.loads(shop("--output", "json").out)["plans"]
    assert [(volume["name"], volume["tags"]) for volume in web["volumes"]] == [("data", "strict"), ("logs", "bounded")]
    assert db["volumes"][0]["from"] == {"session": "web", "volume": "data"}
    by_name = {volume["name"]: volume for volume in mesh["volumes"]}
    assert by_name["theirs"] == {
        "service": "db", "name": "theirs", "path": "/x", "storage": "/scone/volumes/theirs", "tags": "strict",
        "update_policy": "ephemeral", "files": "encrypted", "from": {"session": "shop/web", "volume": "data"},
        "shared_with": [],
    }  # fmt: skip
    assert by_name["data"]["shared_with"] == [{"session": "shop/db", "update_policy": "ephemeral"}]
    assert by_name["logs"]["tags"] == "bounded"


def test_markdown_has_a_line_for_each(shop: Any) -> None:
    text = shop("--output", "markdown").out
    assert (
        r"- web: data at /data, storage at /scone/volumes/data: tags strict; shared with shop/db \(ephemeral\)" in text
    )
    assert text.count("Volumes:") == 3
    assert "\n\n\n\n" not in text


def test_what_a_template_loosens_is_said(shop: Any, project: Path) -> None:
    (project / "policy.yaml").write_text(
        "images: [{name: web, volumes: [{name: data, update_policy: no_rollback_protection}]}]\n"
        "volumes: [{name: logs, files: authenticated-only}]\n"
    )
    file = project / "mesh.yaml"
    mesh = YAML(typ="safe").load(file)
    mesh["services"][0]["image_policy"] = "policy.yaml"
    file.write_text(dump(mesh))
    text = " ".join(shop().out.split())
    assert "storage of web's data: any older state can be brought back (no_rollback_protection)" in text
    assert "storage of web's logs: everything, as their files are authenticated-only; a change stops" in text


def test_without_volumes_nothing_is_said(shop: Any, project: Path) -> None:
    for name in ("web", "db"):
        (project / f"{name}.yaml").write_text(service_text(name, copy=["main.py"]))
    assert "VOLUMES" not in shop().out and "storage" not in shop().out
    assert "Volumes" not in shop("--output", "markdown").out


@pytest.mark.usefixtures("shop")
def test_it_says_that_an_older_state_was_accepted(run: Run) -> None:
    """Until a program has written since; whoever reviews the plan has to know."""
    for text in ('name: shop\nversion: "0.3.11"\n', 'name: shop/web\nversion: "0.3.11"\nvolumes: [{name: data}]\n'):
        Path("session.yaml").write_text(text)
        assert run("session", "create", "session.yaml").code == 0
    Path("mesh.yaml").write_text(Path("mesh.yaml").read_text().replace("cas.example.org", "local"))
    asked = ("plan", *ALL[:-1])  # a dry run asks no CAS
    assert "accepted" not in run(*asked).err
    assert run("volume", "accept", "shop/web", "data", "11" * 16).code == 0
    note = f"note: volume data of session shop/web is in state {'11' * 16}, which "
    for words in ((), ("--output", "json"), ("--output", "markdown")):
        done = run(*asked, *words)
        assert done.code == 0 and note in done.err, done.err
