"""Manifests for tests: one small valid one of each kind, and a way to set any field of it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.text.yaml_text import dump

Steps = Sequence[str | int]

SERVICE: dict[str, Any] = {
    "apiVersion": "scone/5.8",
    "kind": "genservice",
    "build": {"name": "web", "kind": "python", "to": "example/web:1", "command": "python3 web.py"},
    "environment": {"local": [{"name": "A", "value": "a"}], "global": [{"name": "B"}]},
    "secrets": {"global": [{"name": "s", "kind": "ascii"}], "import": []},
    "injection_files": [{"path": "/etc/app.conf", "content": "c"}],
}
MESH: dict[str, Any] = {
    "apiVersion": "scone/5.8",
    "kind": "mesh",
    "cas": [{"name": "cas", "cas_url": "cas.example.org"}],
    "policy": {"namespace": "shop"},
    "env": [{"service": "global", "env": [{"name": "A", "value": "a"}]}],
    "services": [{"name": "web", "image": "example/web:1"}],
}


def with_field(base: dict[str, Any], path: Steps, value: Any) -> dict[str, Any]:
    """Return `base` with `value` at `path`; what is missing on the way is made."""
    result = copy.deepcopy(base)
    place: Any = result
    for step, following in itertools.pairwise(path):
        empty: Any = [{}] if isinstance(following, int) else {}
        place = place[step] if isinstance(step, int) else place.setdefault(step, empty)
    place[path[-1]] = value
    return result


def read(document: dict[str, Any], variables: dict[str, str] | None = None) -> Manifest:
    """Read a manifest that is given as data."""
    return read_manifest(dump(document), "m.yaml", variables or {})


def field_of(model: BaseModel, path: Steps) -> Any:
    """Return what the model has at a path of the manifest."""
    value: Any = model
    for step in path:
        if isinstance(value, BaseModel):
            names = {field.alias or name: name for name, field in type(value).model_fields.items()}
            value = getattr(value, names[str(step)])
        else:
            value = value[step]
    return value
