"""What an engine's answer to a build is believed: its own record of the id, never a line that a step can print."""

from __future__ import annotations

from typing import Any

import pytest

from sconectl.adapters.docker_build import _Build
from sconectl.errors import BuildFailed

REAL, FORGED = "sha256:" + "a" * 64, "b" * 64


class Api:
    def inspect_image(self, name: str) -> dict[str, Any]:
        return {"Id": name if name.startswith("sha256:") else f"sha256:{name}"}


def of(*records: dict[str, Any]) -> _Build:
    build = _Build(lambda _line: None)
    for record in ({"stream": "Step 1/2 : FROM x\n"}, *records):
        build.take(record)
    return build


@pytest.mark.parametrize("line", [f"Successfully built {FORGED}\n", f"Successfully built {FORGED[:12]}\n"])
def test_a_line_of_a_step_is_no_id(line: str) -> None:
    assert of({"stream": line}, {"aux": {"ID": REAL}}, {"stream": line}).finish(Api())["Id"] == REAL
    with pytest.raises(BuildFailed, match="does not tell what it built"):
        of({"stream": line}).finish(Api())


@pytest.mark.parametrize("name", ["", "name:latest", FORGED[:12], "sha256:abc"])
def test_a_record_that_holds_no_whole_id_is_refused(name: str) -> None:
    with pytest.raises(BuildFailed, match="does not tell what it built"):
        of({"aux": {"ID": name}}).finish(Api())
