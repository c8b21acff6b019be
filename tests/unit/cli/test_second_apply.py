"""The second apply: what `plan` foretells about secrets, and what `apply` refuses to lose, on the embedded CAS."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text

from sconectl.cas.client.identity import CasConfig
from sconectl.cas.local import LocalCas
from sconectl.policy.reading import parse_session

from .conftest import Outcome, Run

FILES = ("-f", "web.yaml", "-f", "db.yaml", "-f", "mesh.yaml", "--base-image", "python=base:1")
PASSWORD = {"name": "password", "kind": "ascii", "size": 10}
KEY = {"name": "ca-key", "kind": "private-key"}
CA = {"name": "ca", "kind": "x509-ca", "private_key": "ca-key"}
SEEN = {"local": [{"name": "PASSWORD", "value": "$$SCONE::password$$"}]}


class Project:
    """Two services and their mesh; `web` declares secrets, `db` imports some of them."""

    def __init__(self, folder: Path, run: Run) -> None:
        self.folder, self.run = folder, run
        (folder / "main.py").write_text("print(1)")

    def write(
        self,
        *secrets: dict[str, Any],
        imports: tuple[str, ...] = ("password",),
        level: str = "info",
        services: tuple[str, ...] = ("web", "db"),
        seen: dict[str, Any] = SEEN,
    ) -> None:
        web = service_text("web", copy=["main.py"], secrets={"global": list(secrets)}, environment=seen)
        (self.folder / "web.yaml").write_text(web)
        (self.folder / "db.yaml").write_text(
            service_text("db", secrets={"import": list(imports)}, environment={"global": [{"name": "LEVEL"}]})
        )
        env = {"db": {"LEVEL": level}}
        (self.folder / "mesh.yaml").write_text(mesh_text(services, env=env).replace("cas.example.org", "local"))

    def apply(self, *words: str) -> Outcome:
        return self.run("apply", *FILES, *words)

    def plan(self, *words: str) -> Outcome:
        return self.run("plan", *FILES, *words)

    def fates(self) -> dict[str, tuple[str, bool]]:
        """Return fate and loss of each secret of the session `web`, as a program reads them."""
        found = json.loads(self.plan("--output", "json").out)
        mesh = next(plan for plan in found["plans"] if plan["kind"] == "mesh")
        secrets = next(session for session in mesh["sessions"] if session["name"] == "shop/web")["secrets"]
        return {secret["name"]: (secret["fate"], secret["loss"]) for secret in secrets}


@pytest.fixture
def shop(project: Path, run: Run) -> Project:
    made = Project(project, run)
    made.write(PASSWORD)
    assert made.apply().code == 0
    return made


def test_an_unrelated_change_takes_no_key_away(shop: Project) -> None:
    secrets = (PASSWORD, KEY, {**CA, "export_public": True})
    shop.write(*secrets)
    assert shop.apply().code == 0
    shop.write(*secrets, level="debug")
    assert shop.fates() == {"password": ("kept", False), "ca-key": ("kept", False), "ca": ("kept", False)}
    done = shop.apply()
    assert done.code == 0, done.err
    assert "session shop/db: updated" in done.out
    assert "session shop/web: unchanged" in done.out


def test_the_cas_has_nothing_to_say_against_what_is_written(shop: Project) -> None:
    shop.write(PASSWORD, level="debug")
    (shop.folder / "mesh.yaml").write_text((shop.folder / "mesh.yaml").read_text().replace("shop", "market"))
    done = shop.apply()
    assert done.code == 0
    assert "the CAS" not in done.err


def test_the_fate_of_every_secret_is_told_before_and_after(shop: Project) -> None:
    shop.write(PASSWORD, {"name": "token", "kind": "binary"}, imports=("password", "token"))
    told = shop.plan()
    assert told.code == 0
    lines = told.out[told.out.index("SECRETS") : told.out.rindex("FILES")]
    assert "- shop/web password: kept, kind and size are the same" in lines
    assert "- shop/web token: new, the CAS draws it; for session shop/db" in " ".join(lines.split())
    assert "CHANGES" in lines
    done = shop.apply()
    assert "  secret token: new, the CAS draws it; for session shop/db" in done.out
    assert "password" not in done.out
    quiet = shop.plan()
    assert "of unchanged sessions are kept" in quiet.out
    assert "- shop/web token: kept" in shop.plan("-v").out


def test_a_secret_in_use_is_not_lost_without_being_named(shop: Project) -> None:
    fate, why = "drawn anew", "its size was 10, and is 12"
    before = _value_of(shop)
    kept = [shop.folder / "sconectl.lock", *(shop.folder / "target").rglob("*")]
    files = {path: path.read_bytes() for path in kept if path.is_file()}
    shop.write({**PASSWORD, "size": 12})
    assert shop.fates() == {"password": (fate, True)}
    refused = shop.apply()
    assert refused.code == 7
    assert "SC2022" in refused.err
    assert "mesh.yaml:" in refused.err
    assert why in refused.err
    assert "--allow-secret-loss password" in refused.err
    assert _value_of(shop) == before
    assert "built" not in refused.out
    assert [path for path, content in files.items() if path.read_bytes() != content] == []
    gate = shop.plan("--fail-on", "secret-loss")
    assert (gate.code, "SECRETS" in gate.out) == (7, True)
    assert shop.plan("--fail-on", "secret-loss", "--allow-secret-loss", "web/password").code == 0
    assert shop.apply("--allow-secret-loss", "db/password").code == 7
    done = shop.apply("--allow-secret-loss", "password")
    assert done.code == 0
    assert f"secret password: {fate}, {why}" in done.out
    assert _value_of(shop) != before


def test_what_a_rollout_keeps_is_no_loss_before_the_build_either(shop: Project) -> None:
    """A rollout that goes back to the version before keeps the other one, which only the measurement shows."""
    shop.write(
        {"name": "token", "kind": "ascii"}, PASSWORD, seen={"local": [{"name": "T", "value": "$$SCONE::token$$"}]}
    )
    assert shop.apply("--rolling").code == 0
    shop.write(PASSWORD)
    done = shop.apply()
    assert done.code == 0, done.err
    assert "built" in done.out


def _value_of(shop: Project) -> str:
    """Return the hash of the active session: values that are drawn anew come with a new version."""
    stored = LocalCas(_home(shop) / "../data/sconectl/cas", CasConfig(_home(shop) / ".cas")).read("shop/web")
    assert stored is not None
    assert parse_session(stored.text).secret("password") is not None
    return stored.hash


def _home(shop: Project) -> Path:
    return shop.folder.parent / "home"


def test_a_given_value_that_is_left_out_is_a_loss(shop: Project) -> None:
    shop.write({**PASSWORD, "size": None, "value": "live-key"} | {"name": "password"})
    (shop.folder / "web.yaml").write_text((shop.folder / "web.yaml").read_text().replace("size: null", ""))
    done = shop.apply("--allow-secret-loss", "password")
    assert done.code == 0, done.err
    assert "live-key" not in done.out + done.err
    shop.write(PASSWORD)
    refused = shop.apply()
    assert refused.code == 7
    assert "the session gave its value, and gives none any more" in refused.err
    assert "live-key" not in refused.out + refused.err


def test_a_change_that_weakens_is_refused_by_the_gate_unless_a_waiver_allows_it(shop: Project) -> None:
    exported = {**PASSWORD, "export": [{"namespace": "shop"}]}
    shop.write(exported, level="debug")
    assert shop.plan().code == 0
    refused = shop.plan("--fail-on", "secret-loss,weakens")
    assert refused.code == 7
    (code,) = {word for word in refused.err.replace(":", " ").split() if re.fullmatch("SC5[0-9]{3}", word)}
    assert "every session in namespace shop may import it" in refused.err
    assert f"explain {code}" in refused.err
    mesh = shop.folder / "mesh.yaml"
    text = mesh.read_text()
    waiver = f'# sconectl:allow {code} until=2999-12-31 reason="all of the shop may have it"'
    mesh.write_text(text.replace("- name: web\n", f"- name: web {waiver}\n"))
    assert waiver in mesh.read_text()
    assert shop.plan("--fail-on", "weakens").code == 0
    mesh.write_text(text.replace("- name: db\n", f"- name: db {waiver}\n"))
    assert shop.plan("--fail-on", "weakens").code == 7
    mesh.write_text(text)
    done = shop.apply()
    assert f"may import it [{code}]" in done.out.replace("; so far: session shop/db", "")
    assert shop.plan("--fail-on", "weakens").code == 0


def test_programs_see_by_the_exit_code_whether_anything_changes(shop: Project) -> None:
    assert shop.plan("--detailed-exitcode").code == 0
    shop.write(PASSWORD, level="debug")
    assert shop.plan("--detailed-exitcode").code == 2
    assert shop.plan().code == 0
    assert shop.plan("--fail-on", "rain").code == 2


def test_a_plan_for_a_pull_request_is_markdown_in_which_no_name_is_markup(shop: Project) -> None:
    shop.write({**PASSWORD, "size": 12}, {"name": "a_b_c", "kind": "ascii"}, imports=("password", "a_b_c"))
    text = shop.plan("--output", "markdown").out
    assert "### Mesh shop" in text
    assert "| :warning: loss | password | shop/web | drawn anew | its size was 10, and is 12 |" in text
    assert r"|  | a\_b\_c | shop/web | new | the CAS draws it | now also: session shop/db |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in rows} <= {4, 7}


def test_sharing_is_part_of_the_fate(shop: Project) -> None:
    shop.write(PASSWORD, imports=())
    secrets = json.loads(shop.plan("--output", "json").out)["plans"][2]["sessions"]
    web = next(session for session in secrets if session["name"] == "shop/web")
    (fate,) = web["secrets"]
    assert (fate["fate"], fate["loses"], fate["loss"]) == ("kept", ["session shop/db"], False)
    assert any("shop/db may no longer import it" in change["message"] for change in web["changes"])
    assert "secret password: kept, kind and size are the same; no longer for session shop/db" in shop.apply().out


def test_a_change_that_weakens_is_told_with_its_code_in_every_form(shop: Project) -> None:
    file = shop.folder / "mesh.yaml"
    file.write_text(file.read_text().replace("namespace: shop\n", "namespace: shop\n  tolerate: outdated-tcb\n"))
    text = " ".join(shop.plan().out.split())
    assert "! shop/web tolerate: outdated-tcb is tolerated [SC5002]" in text
    assert r"outdated\-tcb is tolerated \[SC5002\]" in shop.plan("--output", "markdown").out
    plans = json.loads(shop.plan("--output", "json").out)["plans"]
    sessions = [session for plan in plans if plan["kind"] == "mesh" for session in plan["sessions"]]
    told = {session["name"]: [change["code"] for change in session.get("changes", ())] for session in sessions}
    assert told["shop/web"] == told["shop/db"] == ["SC5002"]
    assert told["shop"] == []
