"""Whatever stands in a manifest: findings in little time and memory, and never a secret value in what is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fuzz import fuzz_manifests
from fuzz.fuzz_manifests import CANARY, KEYS, STRANGE, VALID, check, is_secret, mutated
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sconectl.cli.options import manifest_files
from sconectl.text.findings import Finding, Position
from sconectl.text.yaml_text import dump

COUNT = "2000"
MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = st.one_of(st.sampled_from(STRANGE), st.text(max_size=12))
NAMES = st.one_of(st.sampled_from(KEYS), st.sampled_from(STRANGE), st.text(max_size=6))
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=20
)


def test_mutated_manifests() -> None:
    command = [sys.executable, fuzz_manifests.__file__, COUNT, "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=550)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert f"{COUNT} texts" in done.stdout


def test_the_campaign_has_every_kind_of_case(tmp_path: Path) -> None:
    outcomes = [check(mutated(seed), {"CAS_MODE": "Upload"}, tmp_path) for seed in range(150)]
    assert any(outcomes)
    assert not all(outcomes)
    texts = [mutated(seed) for seed in range(150)]
    assert sum(CANARY in str(text) for text in texts) > 50
    assert len(set(texts)) > 140
    assert texts[7] == mutated(7)
    assert len(VALID) > 5


@pytest.mark.parametrize(
    ("message", "hint"), [(f"expected text, not {CANARY}", ""), ("expected text", f"remove {CANARY}")]
)
def test_the_campaign_notices_a_value_in_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, hint: str
) -> None:
    def leak(options: Any) -> tuple[int, list[Finding]]:
        return 1, [Finding("error", "SC1002", Position(str(options.files[0]), 1, 1), "", message, hint)]

    text = f"kind: mesh\nsecrets:\n- value: {CANARY}\n"
    monkeypatch.setattr(fuzz_manifests, "everything_about", leak)
    with pytest.raises(AssertionError, match="a secret value is shown"):
        check(text, {}, tmp_path)
    check(text.replace("value", "name"), {}, tmp_path)  # a name may be shown


def test_the_campaign_notices_an_exception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_files, "read_each", lambda _options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check("kind: mesh\n", {}, tmp_path)


@pytest.mark.parametrize(
    ("path", "secret"),
    [
        (("secrets", "global", 0, "value"), True),
        (("secrets", "global", 0, "value", 1, "x"), True),
        (("environment", "local", 0, "name"), False),
        (("environment", "local", 0, "value"), True),
        (("env", "PASSWORD"), True),
        (("injection_files", 0, "content"), True),
        (("build", "name"), False),
    ],
)
def test_what_counts_as_secret(path: tuple[str | int, ...], secret: bool) -> None:
    assert is_secret(path) == secret


@given(st.binary(max_size=400))
@example(b"\xff\xfek\x00i\x00n\x00d\x00")
@example(b"kind: mesh\n\x80")
@MANY
def test_any_bytes(tmp_path: Path, raw: bytes) -> None:
    check(raw, {}, tmp_path)


@given(st.text(st.sampled_from("kind: mesh\n-[]{}'\"|>&*!%@`#?,$\t\r\x85\u2028\ufeff"), max_size=80))
@MANY
def test_any_text_that_looks_like_yaml(tmp_path: Path, text: str) -> None:
    check(text, {}, tmp_path)


@given(st.sampled_from(["mesh", "genservice"]), st.dictionaries(st.sampled_from(KEYS), TREES, max_size=6))
@MANY
def test_any_tree(tmp_path: Path, kind: str, tree: dict[str, Any]) -> None:
    check(dump({"apiVersion": "scone/5.8", **tree, "kind": kind}), {}, tmp_path)
