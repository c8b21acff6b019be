"""Hints for what a registry answers, as the engine words it."""

from __future__ import annotations

import pytest

from sconectl.adapters.refusals import hint_for

REGISTRY = "r.example.org:5000"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("unauthorized: authentication required", f"`docker login {REGISTRY}`"),
        ("no basic auth credentials", f"`docker login {REGISTRY}`"),
        ("denied: requested access to the resource is denied", "has no right"),
        ("error parsing HTTP 403 response body: invalid character '<'", "has no right"),
        ('error parsing HTTP 413 response body: "<html>413 Request Entity Too Large</html>"', "limits the size"),
        ("toomanyrequests: You have reached your pull rate limit", "limits how often"),
        ("error parsing HTTP 429 response body: invalid character '<'", "limits how often"),
        ("received unexpected HTTP status: 503 Service Unavailable", "try again later"),
        ("received unexpected HTTP status: 500 Internal Server Error", "try again later"),
        ('Get "http://r.example.org:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', "run, and can"),
        ("EOF", "run, and can"),
        ("write /var/lib/docker/tmp/x: no space left on device", "disk is full"),
        ("manifest for r.example.org:5000/x:1 not found: manifest unknown: manifest unknown", ""),
    ],
)
def test_hints(text: str, advice: str) -> None:
    hint = hint_for(text, REGISTRY)
    assert advice in hint and bool(hint) == bool(advice)
    assert "disk" in hint or REGISTRY in hint or not hint


def test_what_no_registry_said() -> None:
    assert hint_for("sh: permission denied, error 500") == ""
    assert "disk is full" in hint_for("mkdir: no space left on device")
