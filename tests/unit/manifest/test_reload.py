"""What `build.reload` may say, and where a message about a fault in it points."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.builders import service_plan, service_text

from sconectl.errors import InvalidInput


def faults(reload: Any) -> list[tuple[str, str]]:
    try:
        service_plan(service_text(reload=reload))
    except InvalidInput as error:
        assert all(each.position.line > 0 and each.severity == "error" for each in error.findings)
        return [(each.code, each.path) for each in error.findings]
    return []


@pytest.mark.parametrize(
    "reload",
    [{}, {"signal": "SIGHUP"}, {"signal": "SIGUSR1"}, {"command": "nginx -s reload"}, {"command": "a '{ b }'"}],
)
def test_what_is_possible(reload: dict[str, str]) -> None:
    assert faults(reload) == []


@pytest.mark.parametrize(
    ("reload", "expected"),
    [
        ({"signal": "SIGKILL"}, [("SC1002", "build.reload.signal")]),
        ({"signal": "SIGHUP", "command": "x"}, [("SC1013", "build.reload.command")]),
        ({"command": "a 'b"}, [("SC1002", "build.reload.command")]),
        ({"command": "kill {{PID}}"}, [("SC1002", "build.reload.command")]),
        ({"command": "reload $$SCONE::password$$"}, [("SC1002", "build.reload.command")]),
        (
            {"signal": "x", "command": "a {{b}}"},
            [
                ("SC1002", "build.reload.command"),
                ("SC1002", "build.reload.signal"),
                ("SC1013", "build.reload.command"),
            ],
        ),
        ({"signals": "SIGHUP"}, [("SC1002", "build.reload.signals")]),
        ("SIGHUP", [("SC1002", "build.reload")]),
    ],
)
def test_what_is_not_possible(reload: Any, expected: list[tuple[str, str]]) -> None:
    """Nobody fills values into a command that was measured with the image."""
    assert sorted(faults(reload)) == expected
