"""Mutates valid sessions and reads them: whatever stands in a text, the answer is a session or findings.

    python tests/fuzz/fuzz_sessions.py [COUNT] [SEED]

Fails on any exception, on an answer without session and findings, and on a session that does not survive being
written and read again (read-back text and stored JSON, with the same hash). The seed of each text is printed, so that
`python tests/fuzz/fuzz_sessions.py 1 SEED` shows it again.
"""

from __future__ import annotations

import random
import re
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.changes import Changes
from sconectl.policy.reading import examine, parse_session
from sconectl.policy.serialized.canonical import from_json, read_back, session_hash, to_json
from sconectl.text.yaml_text import dump
from sconectl.text.yaml_tree import parse

FOLDER = Path(__file__).resolve().parent.parent / "unit" / "policy"
VALID = [path.read_text() for path in sorted((FOLDER / "valid").glob("V*.yaml"))]
CASES = [
    f'name: s\nversion: "0.3.12"\n{text}'
    for path in sorted((FOLDER / "rules").glob("*.yaml"))
    for text in re.split(r"^---\n", path.read_text(), flags=re.MULTILINE)
]
TAGS = {"!akv": "mapping", "!cas": "empty"}
TOKEN = re.compile(r"\$\$SCONE::[^$]*\$\$|[A-Za-z0-9_-]+|[^\sA-Za-z0-9_-]")
STRANGE = [
    "", "~", "null", "0", "-1", "1e999", "9" * 400, "0x1F", "true", "no", ".nan", "1:30", "2024-01-01", "=", "<<",
    "$$SCONE::", "$$SCONE::x$$", "$$SCONE::a:b:c|escape(json)$$", "$$SCONE::self::software_identity$$", "..", ".", "/",
    "../" * 40 + "x", "/session=a,session=b", "/session=../a", "host/session=", "x\0y", "ANY", "NONE", "CREATOR",
    "require-all", "require-at-least-999999", "\u202e", "\ufeff", "\u2028", "\x85", "𐀀", "é" * 300, "\\@\\@A", "@@1",
    "@@0", "!cas", "!akv", "&a", "*a", "-----BEGIN CERTIFICATE-----", "-----BEGIN PUBLIC KEY-----\nAA==\n", "99999999y",
    "1 year", "0a" * 32, "0B" * 16, "INTEL_QE_ID:" + "0a" * 16, "dns:*", "ip:::1", "https://", "'", '"', "|", ">", "\t",
]  # fmt: skip
KEYS = sorted({match[0] for text in VALID for match in re.finditer(r"[a-z_]+(?=:)", text)})
CHANGES = Changes(STRANGE, KEYS, TOKEN, depths=(5, 60, 70, 300))


def changed_tree(rng: random.Random, text: str) -> str:
    """Change the parts of the document behind `text`."""
    tree, other = (parse(each, "f", tags=TAGS).value for each in (text, rng.choice(VALID)))
    try:
        return dump(CHANGES.tree(rng, tree, other))
    except RecursionError:
        return text


def mutated(seed: int) -> str | bytes:
    """Return the text of `seed`."""
    rng = random.Random(seed)
    text = rng.choice(VALID if rng.random() < 0.8 else CASES)
    changes: list[Callable[[random.Random, str], str | bytes]]
    changes = [changed_tree, changed_tree, CHANGES.tokens, CHANGES.bytes_of]
    try:
        return rng.choice(changes)(rng, text)
    except Exception:  # the rule cases are not all YAML trees; bytes can always be changed
        return CHANGES.bytes_of(rng, text)


def check(text: str | bytes) -> bool:
    """Read one text; returns whether it is valid. Raises AssertionError, or whatever the reader lets through."""
    examined = examine(text, file="f")
    if examined.session is None:
        assert any(finding.severity == "error" for finding in examined.findings), "no session and no error"
        for finding in examined.findings:
            assert finding.code.startswith("SC")
            assert finding.message
            str(finding)
        return False
    session = examined.session
    again = parse_session(read_back(session))
    assert again == session, "the read-back text is another session"
    assert session_hash(again) == session_hash(session), "the read-back text has another hash"
    restored = from_json(to_json(session))
    assert restored == session, "the stored form is another session"
    assert read_back(restored) == read_back(session), "the stored form reads back otherwise"
    return True


def main(arguments: list[str]) -> int:
    """Run `COUNT` texts beginning with `SEED`; returns the exit status."""
    count = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    valid, failed, slowest, started = 0, 0, (0.0, 0), time.monotonic()
    for seed in range(first, first + count):
        text = mutated(seed)
        begun = time.monotonic()
        try:
            valid += check(text)
        except Exception:
            failed += 1
            sys.stdout.write(f"seed {seed}:\n{traceback.format_exc()}\n")
        slowest = max(slowest, (time.monotonic() - begun, seed))
    took = time.monotonic() - started
    sys.stdout.write(f"{count} texts in {took:.1f} s: {valid} valid, {failed} failed; ")
    sys.stdout.write(f"slowest {slowest[0]:.2f} s (seed {slowest[1]})\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
