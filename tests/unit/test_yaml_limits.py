"""Text of any size and depth from anybody: refused in little time and memory."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from sconectl.errors import InvalidInput
from sconectl.text import yaml_nodes
from sconectl.text.findings import Finding
from sconectl.text.yaml_nodes import MAX_BYTES, MAX_DEPTH, MAX_DOCUMENTS
from sconectl.text.yaml_tree import MAX_FAULTS, parse, parse_all


def findings(text: str | bytes, **options: Any) -> tuple[Finding, ...]:
    with pytest.raises(InvalidInput) as caught:
        parse(text, "f.yaml", **options)
    return caught.value.findings


def only(text: str | bytes) -> Finding:
    (finding,) = findings(text)
    assert finding.code == "SC1001"
    assert finding.severity == "error"
    return finding


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "after expanding aliases"),
        ("a: &x [*x]\n", f"{MAX_DEPTH} levels"),
        ("[" * 5000, f"{MAX_DEPTH} levels"),
        ("[" * 5000 + "]" * 5000, f"{MAX_DEPTH} levels"),
        ("- {A: $$S::b$$}\n- " + "[" * 500_000, f"{MAX_DEPTH} levels"),  # the slower parser has to stop, too
        ("\n".join(" " * n + "a:" for n in range(MAX_DEPTH + 5)), f"{MAX_DEPTH} levels"),
        ("a: " + "x" * MAX_BYTES, str(MAX_BYTES)),
    ],
)
def test_oversized_text_is_refused_quickly(text: str, message: str) -> None:
    started = time.monotonic()
    assert message in only(text).message
    assert time.monotonic() - started < 15


def test_the_deepest_text_that_is_allowed() -> None:
    parse("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f")
    only("[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2))


def test_very_deep_text_does_not_end_the_process() -> None:
    program = (
        "from sconectl.errors import InvalidInput\nfrom sconectl.text.yaml_tree import parse\n"
        "try:\n    parse('[' * 500_000 + ']' * 500_000, 'f')\nexcept InvalidInput:\n    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "refused\n", f"the process ended with {done.returncode}"


def test_aliased_text_is_limited_too() -> None:
    only("a: &a " + "x" * 500_000 + "\nb:\n" + "- *a\n" * 50_000)  # 25 GB once something copies it


def depth_of(text: str) -> int:
    depth = deepest = 0
    try:
        for event in YAML(typ="safe").parse(text):
            depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
            deepest = max(deepest, depth)
    except YAMLError:
        pass
    return deepest


@given(st.text(st.sampled_from("-?: \n\ta[{]},'\"!&\r\x85\u2028%#|"), max_size=60))
@settings(max_examples=1500, deadline=None)
def test_the_quick_look_at_the_depth_is_never_too_low(text: str) -> None:
    safe = 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml_nodes, "SAFE_DEPTH", safe)
        if not yaml_nodes._may_be_deep(text):
            assert depth_of(text) <= safe


def test_ordinary_text_is_composed_without_a_look_at_its_events() -> None:
    text = "a:\n  - b: [1, {c: d}]\n" * 20
    assert not yaml_nodes._may_be_deep(text)
    assert yaml_nodes._may_be_deep("[" * 400)
    assert yaml_nodes._may_be_deep("- " * 200 + "a")
    assert not yaml_nodes._may_be_deep("a: [b, c]\nd: '{{e}}'\n" * 400)


@pytest.mark.parametrize("nest", [("[", "]"), ("- ", ""), ("{a: ", "}")])
def test_what_is_composed_unseen_fits_on_a_small_stack(nest: tuple[str, str]) -> None:
    opening, closing = nest
    levels = max(n for n in range(1, 500) if not yaml_nodes._may_be_deep(opening * n + "x" + closing * n))
    assert levels > 90
    messages = []
    before = threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: messages.append(only(opening * levels + "x" + closing * levels)))
        thread.start()
    finally:
        threading.stack_size(before)
    thread.join()
    assert f"{MAX_DEPTH} levels" in messages[0].message


def test_the_number_of_documents_and_of_faults_is_limited() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_all("--- a\n" * (MAX_DOCUMENTS + 5), "f")
    assert "documents in one file" in caught.value.findings[0].message
    assert len(findings("- !x a\n" * (MAX_FAULTS + 5))) == MAX_FAULTS


def test_the_limit_of_the_size_can_be_raised() -> None:
    text = "a: |\n" + "  x\n" * MAX_BYTES
    assert str(MAX_BYTES) in only(text).message
    assert parse(text, "f", limit=8 * MAX_BYTES).value == {"a": "x\n" * MAX_BYTES}
    many = "[" + "a," * (300_000) + "]"
    assert "more than" in only(many).message
    assert len(parse(many, "f", limit=2 * MAX_BYTES).value or ()) == 300_000


@pytest.mark.parametrize(
    "text",
    [
        LAUGHS,
        "[" * 500_000,
        "? " * 500_000,
        "[" + "a," * 500_000 + "]",
        "---\n" * 250_000,
        "a: &a " + "x" * 500_000 + "\nb:\n" + "- *a\n" * 50_000,
        "- {A: b::c}\n" * 80_000 + "[",
        "a:\n" * 300_000,
        "\n" * 1_000_000 + "@",
    ],
    ids=["laughs", "lists", "keys", "items", "documents", "aliased text", "colons", "nothing", "lines"],
)
def test_hostile_text_takes_little_time_and_memory(text: str) -> None:
    program = (
        "import re, sys, time\nfrom sconectl.errors import InvalidInput\nfrom sconectl.text.yaml_tree import parse\n"
        "usage = lambda: int(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1])\n"
        "text = sys.stdin.buffer.read()\n"
        "before, started = usage(), time.process_time()\n"
        "try:\n    parse(text, 'f')\nexcept InvalidInput:\n    print(usage() - before, time.process_time() - started)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, input=text.encode(), capture_output=True, check=True, timeout=120)
    kilobytes, seconds = done.stdout.split()
    assert int(kilobytes) < 50_000
    assert float(seconds) < (0.1 if text is LAUGHS else 3.0)  # the others: not minutes, on any machine
