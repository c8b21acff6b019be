"""What is shown of a faulty manifest in every format: references and names, and never what may be a secret value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.builders import mesh_text, service_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sconectl.text import yaml_text, yaml_tree

from .conftest import Run

FORMATS = ("text", "json", "sarif")
ANY = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
names = st.from_regex(r"[a-z][a-z0-9]{2,8}-[a-z0-9]{1,6}", fullmatch=True)
values = st.text(st.sampled_from("QXZ0123456789!%&()=?;~+"), min_size=8, max_size=30)
PLACES = {
    "local": {"environment": {"local": [{"name": "A", "value": "SECRET"}]}},
    "default": {"environment": {"global": [{"name": "A", "value": "SECRET"}]}},
    "list": {"environment": {"local": [{"name": "A", "value": ["SECRET"]}]}},
    "unknown field": {"environment": {"local": [{"name": "A", "value": "x", "valeu": "SECRET"}]}},
    "file": {"injection_files": [{"path": "etc/x", "content": "SECRET"}]},
    "secret": {"secrets": {"global": [{"name": "a", "kind": "ascii", "value": "SECRET"}]}},
    "binary secret": {"secrets": {"global": [{"name": "a", "kind": "binary", "value": "SECRET"}]}},
    "command": {"command": "python3 main.py $$SCONE::nobody$$ SECRET"},
    "step": {"run": "SECRET"},
}


def put(value: Any, secret: str) -> Any:
    if isinstance(value, dict):
        return {key: put(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [put(item, secret) for item in value]
    return value.replace("SECRET", secret) if isinstance(value, str) else value


def said(run: Run, *words: str) -> dict[str, str]:
    """Return what `validate` prints in each format; formats for programs are read."""
    found = {}
    for form in FORMATS:
        outcome = run("validate", *words, "--output", form)
        if form != "text":
            json.loads(outcome.out)
        found[form] = outcome.out + outcome.err
    return found


@pytest.mark.parametrize("place", PLACES)
@ANY
@given(secret=values)
def test_no_value_is_in_any_format(project: Path, run: Run, place: str, secret: str) -> None:
    (project / "web.yaml").write_text(service_text("web", kind="pyton", **put(PLACES[place], secret)))
    for form, text in said(run, "-f", "web.yaml").items():
        assert "build.kind" in text, form
        assert secret not in text and json.dumps(secret)[1:-1] not in text, form


@ANY
@given(name=names, form=st.sampled_from(["", ":crt", ":privatekey"]), braces=st.booleans())
def test_a_reference_to_nothing_is_shown(project: Path, run: Run, name: str, form: str, braces: bool) -> None:
    written = f"{{{{{name}}}}}" if braces else f"$$SCONE::{name}{form}$$"
    (project / "web.yaml").write_text(service_text("web", environment={"local": [{"name": "A", "value": written}]}))
    (project / "mesh.yaml").write_text(mesh_text(["web"]))
    for output, text in said(run, "-f", "web.yaml", "-f", "mesh.yaml").items():
        assert name in text, output
        assert braces or output != "text" or written in text


@ANY
@given(key=names, secret=values)
def test_keys_of_the_chart_are_shown_and_their_values_are_not(project: Path, run: Run, key: str, secret: str) -> None:
    (project / "web.yaml").write_text(service_text("web"))
    document: Any = yaml_tree.parse(mesh_text(["web"]), "mesh.yaml").value
    document["helm_extra_values"] = {"web": {key: secret}}
    (project / "mesh.yaml").write_text(yaml_text.dump(document))
    for output, text in said(run, "-f", "web.yaml", "-f", "mesh.yaml").items():
        assert key in text, output
        assert f"    {key}: ***" in text or output != "text"
        assert secret not in text, output
