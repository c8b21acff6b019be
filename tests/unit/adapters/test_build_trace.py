"""Reading what BuildKit reports: messages that a real engine sent, and messages that nobody should send."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from sconectl.adapters.build_trace import BuildTrace

# Sent by dockerd 20.10 for `RUN ["/bin/sh","-c","echo dying >&2; exit 7"]`: its output, then the step with its error.
PRINTED = (
    "GmEKR3NoYTI1Njo0NzVjYTlkMzQ0YmZmMjBlOTM5YTBmOWJkMTA2ZGQ0OGEwMTFjY2IwOWYwNGZiZTI4ODNiZDAzZjc2ODI4MTI1EgwI6+mF2AYQ"
    "+N+joAEYAiIGZHlpbmcK"
)
FAILED = (
    "Cq0CCkdzaGEyNTY6NDc1Y2E5ZDM0NGJmZjIwZTkzOWEwZjliZDEwNmRkNDhhMDExY2NiMDlmMDRmYmUyODgzYmQwM2Y3NjgyODEyNRJHc2hhMjU2"
    "Ojg3ZGFjNzM0MWMzYjUyM2VlYjljZGU1ZDZlMWI3NzVlZjdiODZkMDkzNzk1MGQ3ZGYyYzg2ODliZmEyZmExNmUaM1s1LzVdIFJVTiBbIi9iaW4v"
    "c2giLCItYyIsImVjaG8gZHlpbmcgPiYyOyBleGl0IDciXSoLCOvphdgGEOLU6UEyDAjr6YXYBhCqwt2rATpJZXhlY3V0b3IgZmFpbGVkIHJ1bm5p"
    "bmcgWy9iaW4vc2ggLWMgZWNobyBkeWluZyA+JjI7IGV4aXQgN106IGV4aXQgY29kZTogNw=="
)
STEP = '[5/5] RUN ["/bin/sh","-c","echo dying >&2; exit 7"]'


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes((number << 3 | 2, len(content))) + content


def step(digest: bytes, name: bytes, *, error: bytes = b"") -> str:
    message = field(1, digest) + field(3, name) + field(5, b"\x08\x01") + (field(7, error) if error else b"")
    return base64.b64encode(field(1, message)).decode()


def printed(digest: bytes, text: bytes) -> str:
    return base64.b64encode(field(3, field(1, digest) + b"\x18\x01" + field(4, text))).decode()


def test_a_step_that_failed() -> None:
    trace = BuildTrace()
    assert trace.take(PRINTED) == ["dying"]
    assert trace.failing_step() == ""
    assert trace.take(FAILED) == [STEP]
    assert trace.failing_step() == f"{STEP}\ndying\n"


def test_steps_that_run_at_the_same_time() -> None:
    trace = BuildTrace()
    assert trace.take(step(b"a", b"first")) == ["first"]
    assert trace.take(step(b"b", b"second")) == ["second"]
    assert trace.take(step(b"a", b"first")) == []
    assert trace.take(printed(b"a", b"one\ntw")) == ["one"]
    assert trace.take(printed(b"b", b"other\n")) == ["other"]
    assert trace.take(printed(b"a", b"o\n\nthree")) == ["two"]
    assert trace.take(step(b"b", b"second", error=b"exit code: 1")) == []
    assert trace.take(step(b"a", b"first", error=b"context canceled")) == []  # because the other one failed
    assert trace.failing_step() == "second\nother\n"


@given(st.binary(max_size=200))
def test_anything_else_is_ignored(message: bytes) -> None:
    trace = BuildTrace()
    for line in trace.take(base64.b64encode(message).decode()):
        assert isinstance(line, str)
    assert isinstance(trace.failing_step(), str)
    assert trace.take("no base64!") == []
