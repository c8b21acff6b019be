"""Mutates valid manifests and checks them as `validate` does: whatever stands in a text, the answer is findings.

    python tests/fuzz/fuzz_manifests.py [COUNT] [SEED]

Fails on any exception, on a text that takes more than a second of the processor, on a process that needs more than
200 MB, and on a message or a shown line of the source with a value in it that a manifest keeps secret. The seed of each
text that fails is printed; `python tests/fuzz/fuzz_manifests.py 1 SEED` shows it again.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.changes import Changes
from sconectl.cli.commands.validate_cmd import everything_about
from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.output.finding_json import as_json
from sconectl.cli.output.render import lines_of_findings
from sconectl.errors import InvalidInput
from sconectl.text.findings import errors_of
from sconectl.text.yaml_text import dump
from sconectl.text.yaml_tree import parse, parse_all

REPOSITORY = Path(__file__).resolve().parents[2]
PLACES = ("examples/*/*.yaml", "tests/golden/cases/*/*.yaml", "../shared/corpus/*/*.template")
FOLDERS = [
    [text for file in files if re.search(r"^kind: *(genservice|mesh)", text := file.read_text(), re.MULTILINE)]
    for place in PLACES
    for _, files in itertools.groupby(sorted(REPOSITORY.glob(place)), lambda file: file.parent)
]
VALID = [text for folder in FOLDERS for text in folder]
FILE = "manifest.yaml"
SECONDS = 1.0
MEGABYTES = 200

CANARY = "cnry5"
CANARIES = [
    text.replace("C", CANARY)
    for text in (
        "C", "C two words", "#C", "C#7", "9C", "*C", "!C x", "&C", "@C", "%C", "C: b", "{C", "[C, x]", "a\nC\n  b\n",
        "\\C\\", "'C", '"C', "- C", "? C", "| C", "{{x}}C", "$$C", "$C", "${C}", "C$", "\tC", "https://u:C@h/",
        "{C: b, C: d}", "-----BEGIN PRIVATE KEY-----\nC\n-----END PRIVATE KEY-----\n",
    )
]  # fmt: skip
SECRET_FIELDS = {"value", "content", "application_secret"}
MAPS_OF_VALUES = {"environment", "env", "local", "global"}
NAMES_OF_SECRETS = {"NGINX_BACKEND_CLIENT_CERT", "NGINX_BACKEND_CA_CERT"}
"""Variables that hold what a secret is called, which is no secret."""
STRANGE = [
    "", "~", "null", "0", "-1", "1e999", "9" * 400, "0x1F", "true", "No", ".nan", "1:30", "2024-01-01", "=", "<<",
    "$$SCONE::", "$$SCONE::x$$", "$$SCONE::a:b:c$$", "$", "$$", "${", "${A", "${A:-", "${A:-b}", "$A", "$1", "{{", "}}",
    "{{}}", "{{a", "{{ a | default(value=\"x\") }}", "{% raw %}", "{% endraw %}", "{% if a %}", "{# c", "..", ".", "/",
    "../" * 40 + "x", "/etc/ssl/certs", "a\0b", "\u202e", "\ufeff", "\u2028", "\x85", "\x1b[31m", "𐀀", "é" * 300, "*a",
    "&a", "!cas", "-----BEGIN CERTIFICATE-----", "99999999y", "1 year", "0a" * 32, "mesh", "genservice", "java8",
    "*", "--only_for_testing-debug", "a:b:c", "a@sha256:" + "0" * 64, "x" * 5000, "'", '"', "|", ">", "\t", "-", "a=b",
]  # fmt: skip
KEYS = sorted({match[0] for text in VALID for match in re.finditer(r"[A-Za-z_.]+(?=:)", text)})
TOKEN = re.compile(r"\$\$SCONE::[^$]*\$\$|[A-Za-z0-9_-]+|\n *|[^\sA-Za-z0-9_-]")
VARIABLES = sorted({match[1] for text in VALID for match in re.finditer(r"\$\{?([A-Z][A-Z0-9_]*)", text)})
CHANGES = Changes(STRANGE, KEYS, TOKEN)


def is_secret(path: Sequence[str | int]) -> bool:
    """Say whether a manifest keeps what stands at `path`, or anything below it, secret."""
    *_, parent, name = (None, None, *path)
    variable = parent in MAPS_OF_VALUES and isinstance(name, str) and name not in MAPS_OF_VALUES
    return variable or not SECRET_FIELDS.isdisjoint(path)


def scalars(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield every scalar and every key of a tree; keys stand where their mapping does."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield path, key
            yield from scalars(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from scalars(item, (*path, number))
    elif value is not None:
        yield path, value


def with_canaries(rng: random.Random, value: Any, rate: float, path: tuple[str | int, ...] = ()) -> Any:
    """Return the tree with some of its secret values replaced."""
    if isinstance(value, dict):
        if str(value.get("name")) in NAMES_OF_SECRETS:
            return value
        return {key: with_canaries(rng, item, rate, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [with_canaries(rng, item, rate, (*path, number)) for number, item in enumerate(value)]
    return rng.choice([CANARY, rng.choice(CANARIES)]) if is_secret(path) and rng.random() < rate else value


def unquoted(rng: random.Random, text: str) -> str:
    """Take the quotes from values that need them."""
    return re.sub(rf"(['\"])(.*{CANARY}.*)\1", lambda found: found[2] if rng.random() < 0.7 else found[0], text)


def other_file(rng: random.Random, text: str) -> str:
    """Change what surrounds the document: line ends, the byte order mark, further documents, aliases, tabs."""
    choices: list[Callable[[], str]] = [
        lambda: text.replace("\n", "\r\n"),
        lambda: "\ufeff" + text,
        lambda: f"{text}---\n{rng.choice(VALID)}",
        lambda: f"---\n---\n{text}...\n",
        lambda: "x: &x [a, b]\n" + re.sub(r": [A-Za-z].*", lambda m: ": *x" if rng.random() < 0.1 else m[0], text),
        lambda: text.replace("  ", "\t", rng.randrange(1, 5)),
        lambda: text[: rng.randrange(len(text) + 1)],
        lambda: re.sub(
            "#.*", lambda m: "# sconectl:allow SC4001 until=2020-01-01" if rng.random() < 0.3 else m[0], text
        ),
    ]
    return rng.choice(choices)()


def mutated(seed: int) -> str | bytes:
    """Return the text of `seed`; some are files with the other manifests of their folder, too."""
    rng = random.Random(seed)
    folder = rng.choice(FOLDERS)
    text = changed(rng, rng.choice(folder))
    others = "\n---\n".join(folder)
    if rng.random() < 0.7:
        return text
    return text + b"\n---\n" + others.encode() if isinstance(text, bytes) else f"{text}\n---\n{others}"


def changed(rng: random.Random, source: str) -> str | bytes:
    if rng.random() < 0.2:
        changes: list[Callable[[random.Random, str], str | bytes]] = [CHANGES.tokens, CHANGES.bytes_of, other_file]
        return rng.choice(changes)(rng, source)
    tree: Any = parse(source, FILE).value
    if rng.random() < 0.7:
        tree = CHANGES.tree(rng, tree, parse(rng.choice(VALID), FILE).value)
    text = dump(with_canaries(rng, tree, rng.choice([0.1, 0.3, 0.7])))
    later = rng.random()
    if later < 0.15:
        return unquoted(rng, text)
    if later < 0.3:
        return CHANGES.bytes_of(rng, text)
    if later < 0.45:
        return CHANGES.tokens(rng, text)
    return other_file(rng, text) if later < 0.55 else text


def variables_of(seed: int) -> dict[str, str]:
    """Return variables as --set and --env-file give them; their values are nobody's business, either."""
    rng = random.Random(seed)
    if rng.random() < 0.6:
        return {**dict.fromkeys(VARIABLES, "x"), "CAS_MODE": "Upload"}
    return {name: rng.choice([CANARY, f"a {CANARY}/:", "x"]) for name in VARIABLES if rng.random() < 0.7}


def keeps_its_secrets(text: str | bytes) -> bool:
    """Say whether each canary still stands where secrets do; of text that is no YAML nothing may be said anyway."""
    try:
        documents = parse_all(text, FILE)
    except InvalidInput:
        return True
    places = [(path, scalar) for document in documents for path, scalar in scalars(document.value)]
    return all(is_secret(path) for path, scalar in places if CANARY in scalar)


def check(text: str | bytes, variables: Mapping[str, str], folder: Path) -> bool:
    """Check one file; returns whether it is valid. Raises AssertionError, or whatever the stages let through."""
    file = folder / FILE
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    options = ApplyOptions(
        files=[file], target=folder / "target", set_=[f"{name}={value}" for name, value in variables.items()]
    )
    with contextlib.redirect_stderr(io.StringIO()) as notes:
        findings = everything_about(options)[1]
    lines = [
        line for terminal in (True, False) for line in lines_of_findings(findings, terminal=terminal, colour=False)
    ]
    shown = next((line for line in [*lines, as_json(findings), notes.getvalue()] if CANARY in line), "")
    assert not shown or not keeps_its_secrets(text), f"a secret value is shown: {shown}"
    for finding in findings:
        assert re.fullmatch(r"SC\d{4}", finding.code)
        assert finding.message
        assert finding.position.line <= len(file.read_bytes()) + 1
    return not errors_of(findings)


def peak_memory() -> int:
    """Return what this process had in memory at most, in MB; `getrusage` counts that of the one it came from, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024


def _hang(*_: object) -> NoReturn:
    raise AssertionError("it hangs")


def campaign(count: int, first: int) -> int:
    """Check `count` texts beginning with the seed `first`; print what fails and a summary; return how many fail."""
    valid, failed, slowest, started = 0, 0, (0.0, 0), time.monotonic()
    signal.signal(signal.SIGVTALRM, _hang)
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            text, variables = mutated(seed), variables_of(seed)
            signal.setitimer(signal.ITIMER_VIRTUAL, 20 * SECONDS)
            begun = time.process_time()
            try:
                valid += check(text, variables, Path(folder))
            except Exception:
                failed += 1
                sys.stdout.write(f"seed {seed}:\n{traceback.format_exc()}\n")
            took = time.process_time() - begun
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            slowest = max(slowest, (took, seed))
            if took > SECONDS:
                failed += 1
                sys.stdout.write(f"seed {seed}: takes {took:.1f} s\n")
    peak = peak_memory()
    if peak > MEGABYTES:
        failed += 1
        sys.stdout.write(f"needs {peak} MB\n")
    sys.stdout.write(f"{count} texts in {time.monotonic() - started:.1f} s: {valid} valid, {failed} failed; ")
    sys.stdout.write(f"slowest {slowest[0]:.2f} s (seed {slowest[1]}), {peak} MB\n")
    return failed


def main(arguments: list[str]) -> int:
    """Run the campaign; returns the exit status."""
    count = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    return 1 if campaign(count, first) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
