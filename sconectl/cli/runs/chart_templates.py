"""The charts that images bring: directories that were given for them, and are kept in the target directory.

In: the options of a run. Out: the chart of an image by its `build.name`, or files that are kept for later runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from sconectl.errors import UsageError
from sconectl.manifest.model.fields import NAME

if TYPE_CHECKING:
    from sconectl.cli.options.apply_options import ApplyOptions
    from sconectl.manifest.reading.reader import Manifest
    from sconectl.plan.mesh.mesh_input import ServiceFiles
    from sconectl.ports import Workspace

FOLDER = "charts"
"""Where they are kept, below the target directory."""


def chart_templates(options: ApplyOptions, built: Collection[str] = ()) -> Callable[[str], ServiceFiles | None]:
    """Return what gives the chart of an image: the one that is given, else what was kept unless it is `built` now."""
    read = cache(_read)

    def chart(build_name: str) -> ServiceFiles | None:
        if options.helm_template:
            return read(options.helm_template)
        # The facts of an image come with it from anywhere, and so does its name: it must not lead elsewhere.
        if build_name in built or not re.fullmatch(NAME, build_name):
            return None
        kept = options.target / FOLDER / build_name
        return read(kept) if kept.is_dir() else None

    return chart


def keep_chart_template(options: ApplyOptions, build_name: str, workspace: Workspace) -> None:
    """Keep the chart of an image that was built, or none. Raises `BuildFailed` and `UsageError`."""
    given = _read(options.helm_template) if options.helm_template else None
    folder = f"{FOLDER}/{build_name}"
    files = dict(given.chart or {}) if given else {}
    workspace.write({f"{folder}/{path}": content for path, content in files.items()}, replaces=(folder,))


def check_chart_template(options: ApplyOptions, manifests: Iterable[Manifest]) -> list[str]:
    """Return the names of the images that are built. Raises `UsageError` if the chart that is given cannot be read."""
    if options.helm_template is not None:
        _read(options.helm_template)
    return [each.model.build.name for each in manifests if each.model.kind == "genservice"]


def _read(folder: Path) -> ServiceFiles:
    from sconectl.apply.sources.service_files import chart_in
    from sconectl.plan.mesh.mesh_input import ServiceFiles

    def refuse(message: str, hint: str) -> None:
        raise UsageError(f"{folder}: {message}", hint=hint.partition(";")[0])

    return ServiceFiles(chart=chart_in(folder, refuse), chart_directory=str(folder))
