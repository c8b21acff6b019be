"""A chart as an artifact of an image registry, as Helm pushes and pulls it.

In: the files of target/helm. Out: a `ChartArtifact`; the same files give the same bytes. Raises `PlanImpossible` for
files that are no chart.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field

from sconectl.errors import InvalidInput, PlanImpossible
from sconectl.ports import Artifact
from sconectl.text.yaml_tree import parse

_CONFIG = "application/vnd.cncf.helm.config.v1+json"
_CONTENT = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
_HEAD = "Chart.yaml"


@dataclass(frozen=True)
class ChartArtifact:
    """A chart: its name, its version, and what a registry keeps of it."""

    name: str
    version: str
    artifact: Artifact = field(repr=False)

    def reference(self, destination: str) -> str:
        """Return where it is, below `destination`: tags have no `+`, for which Helm writes `_`."""
        return f"{destination}/{self.name}:{self.version.replace('+', '_')}"


def chart_artifact(files: Mapping[str, bytes]) -> ChartArtifact:
    """Return the artifact of a chart, whose files are given by their paths in it."""
    try:
        head = parse(files[_HEAD], _HEAD).value
        name, version = (str(head[key]) for key in ("name", "version"))  # type: ignore[index, call-overload]
    except (InvalidInput, LookupError, TypeError):
        hint = "`sconectl apply -f mesh.yaml` writes it"
        raise PlanImpossible("there is no chart in the target directory", hint=hint) from None
    config = json.dumps(head, sort_keys=True).encode()
    return ChartArtifact(name, version, Artifact(config, _CONFIG, _archive(name, files), _CONTENT))


def _archive(name: str, files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        # Helm looks at Chart.yaml first.
        for path in sorted(files, key=lambda path: (path != _HEAD, path)):
            entry = tarfile.TarInfo(f"{name}/{path}")
            entry.size, entry.mode = len(files[path]), 0o644
            tar.addfile(entry, io.BytesIO(files[path]))
    return gzip.compress(packed.getvalue(), mtime=0)
