"""The file that describes the simulated machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sconectl.cas.keys.simulated_machine import Machine, load_machine
from sconectl.errors import CasError


def test_a_machine_is_drawn_once_and_private(tmp_path: Path) -> None:
    drawn = load_machine(tmp_path / "cas")
    path = tmp_path / "cas/platform.json"
    assert f"{path.stat().st_mode & 0o777:o}" == "600"
    assert json.loads(path.read_text()) == {
        "id": drawn.id,
        "issues": [],
        "advisories": [],
        "accept_hardware_policies": False,
        "import_from": None,
    }
    assert len(bytes.fromhex(drawn.id)) == 16
    assert load_machine(tmp_path / "cas") == drawn
    assert load_machine(tmp_path / "other").id != drawn.id


def test_users_may_edit_it(tmp_path: Path) -> None:
    document = {"id": "5f" * 16, "issues": ["outdated-tcb"], "advisories": ["INTEL-SA-00615"]}
    (tmp_path / "platform.json").write_text(json.dumps(document))
    assert load_machine(tmp_path) == Machine(id="5f" * 16, issues=("outdated-tcb",), advisories=("INTEL-SA-00615",))
    (tmp_path / "platform.json").write_text(json.dumps({"id": "5f" * 16}))
    assert load_machine(tmp_path) == Machine(id="5f" * 16)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"id": "5F" * 16}, "id: "),
        ({"id": "5f" * 32}, "id: "),
        ({"issues": ["debug-mode"]}, "issues.0: "),
        ({"issues": ["nonsense"]}, "issues.0: "),
        ({"issues": "outdated-tcb"}, "issues: "),
        ({"issues": ["outdated-tcb"], "advisories": ["INTEL-SA-1"]}, "advisories.0: "),
        ({"issues": ["outdated-tcb"], "advisories": ["*"]}, "advisories.0: "),
        ({"issues": ["hyperthreading"], "advisories": ["INTEL-SA-00615"]}, "advisories need one of "),
        ({"more": 1}, "more: "),
    ],
)
def test_faults_are_named(tmp_path: Path, changes: dict[str, Any], place: str) -> None:
    (tmp_path / "platform.json").write_text(json.dumps({"id": "5f" * 16} | changes))
    with pytest.raises(CasError, match=r"platform\.json does not describe a platform: ") as caught:
        load_machine(tmp_path)
    assert place in caught.value.message and "delete it" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_anything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "platform.json").write_bytes(content)
    with pytest.raises(CasError, match="does not describe a platform"):
        load_machine(tmp_path)
    assert (tmp_path / "platform.json").read_bytes() == content
