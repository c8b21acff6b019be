"""`signer info`: lines that scripts take apart, and what cannot be asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.builders import facts
from fakes.engine import FakeEngine, image
from fakes.workspace import signing_key

from sconectl.plan.facts.image_facts import Signer
from sconectl.plan.facts.image_label import LABEL, ImageLabel
from sconectl.protect.signature import mrsigner_of

from .conftest import Run

SIGNER = Signer(mrsigner="5a" * 32, isvprodid=7, isvsvn=3)


def key_file(folder: Path) -> Path:
    file = folder / "key.pem"
    file.write_bytes(signing_key("mine"))
    file.chmod(0o600)
    return file


def test_the_signer_of_a_key(run: Run, project: Path) -> None:
    done = run("signer", "info", "--key", key_file(project))
    assert (done.code, done.out) == (0, f"MRSIGNER: {mrsigner_of(signing_key('mine'))}\n")


def test_the_own_key_is_drawn_once(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    done = run("signer", "info")
    assert done.code == 0
    key = (tmp_path / "sconectl/keys/enclave-signing.pem").read_bytes()
    assert done.out == f"MRSIGNER: {mrsigner_of(key)}\n"
    assert run("signer", "info").out == done.out


@pytest.mark.usefixtures("project")
def test_the_signer_of_an_image(run: Run, engine: FakeEngine) -> None:
    signed = facts("web").model_copy(update={"signer": SIGNER})
    engine.images["web:1"] = image({}, Labels={LABEL: ImageLabel.of(signed, simulated=True).text()})
    done = run("signer", "info", "web:1")
    assert done.code == 0
    signer, product, version = done.out.splitlines()
    assert signer.split()[1] == "5a" * 32
    assert (product.split()[3], version.split()[2]) == ("7", "3")
    assert "ISV Product ID" in product
    assert "ISV SVN" in version


def test_what_has_no_signer(run: Run, engine: FakeEngine, project: Path) -> None:
    engine.images["web:1"] = image({}, Labels={LABEL: ImageLabel.of(facts("web"), simulated=True).text()})
    done = run("signer", "info", "web:1")
    assert (done.code, done.out) == (4, "")
    assert "is not signed" in done.err
    assert run("signer", "info", "none:1").code == 5
    assert run("signer", "info", "web:1", "--key", key_file(project)).code == 2
    assert run("signer", "info", "--key", project / "absent").code == 2
    key_file(project).chmod(0o644)
    assert run("signer", "info", "--key", project / "key.pem").code == 7
