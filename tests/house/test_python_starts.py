"""Wherever Python is started for a module or a text, it is isolated (-I): the working directory may be anybody's.

`python -m`, `python -c` and `python -` look for modules in the working directory first; -I leaves that out, and the
variables of the environment, too. A file as program looks in its own directory, which is as trusted as the file.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .sources import ROOT

FOLDERS = ("sconectl", "scripts", "packaging", "charts", "charts_templates", "bench", "examples", ".github")
LOOSE = ("Makefile", ".pre-commit-config.yaml")
_INTERPRETER = r"(?:\$\{?\(?[\w-]*(?i:python)[\w-]*\}?\)?|[\w./$()-]*python(?:3(?:\.\d+)?)?)"
_OPTION = r"(-[BEIOPSWXdiqsuvx]*[cm]?)(?![\w.-])"
_START = re.compile(rf"""["']?(?<!\w){_INTERPRETER}["']?,?\s+["']?{_OPTION}""")
"""Python and its first option, in a shell, in JSON, or in YAML."""
ELSEWHERE = {
    "examples/flask-sconify/README.md": "a question to the user's own image",
    "examples/flask-sconify/native/Dockerfile": "the program of the user's own image",
    "examples/hello-user/service.yaml": "a step in the build of the user's own image",
    "sconectl/manifest/model/genservice.py": "an example of such a step",
}


def text_files() -> list[Path]:
    found = [ROOT / name for name in LOOSE if (ROOT / name).exists()]
    for folder in FOLDERS:
        found += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return [
        path for path in found if path.suffix not in (".svg", ".db") and str(path.relative_to(ROOT)) not in ELSEWHERE
    ]


def starts_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield line and first option of each start of Python."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in _START.finditer(line) if "python" in line.lower() else ():
            yield number, found[1]


def starts_by(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and first argument of each list of words that begins with the interpreter that runs."""
    for node in ast.walk(tree):
        words = node.elts if isinstance(node, ast.List | ast.Tuple) else ()
        for word, following in zip(words, [*words[1:], None], strict=False):
            if isinstance(word, ast.Attribute) and ast.unparse(word) == "sys.executable":
                yield word.lineno, ast.unparse(following) if following else ""


def test_python_is_isolated() -> None:
    wrong = []
    for path in text_files():
        text = path.read_text("utf-8", "surrogateescape")
        starts = [(number, option) for number, option in starts_in(text) if not option.startswith("-I")]
        if path.suffix == ".py":
            starts += [start for start in starts_by(ast.parse(text)) if start[1] not in ("'-I'", "__file__")]
        wrong += [f"{path.relative_to(ROOT)}:{number}: {option}" for number, option in starts]
    assert wrong == [], "start Python with -I"


@pytest.mark.parametrize(
    ("line", "options"),
    [
        ("python3 -m pip install x", ["-m"]),
        ('"$python" -m venv .venv', ["-m"]),
        ("$(BIN)/python -c 'pass'", ["-c"]),
        (".venv/bin/python - <<'EOF'", ["-"]),
        ('RUN ["python3", "-m", "pip"]', ["-m"]),
        ('ENTRYPOINT ["python3", "-I", "-m", "sconectl"]', ["-I"]),
        ("command: [python3, -u, -m, x]", ["-u"]),
        ("exec -- python3.12 -Im sconectl cas", ["-Im"]),
        ("x=$(python3 -I -c 1) && /usr/bin/python3 -c 2", ["-I", "-c"]),
        ("$(BIN)/python scripts/write_schemas.py", []),
        ("python3 bench/rest.py --x", []),
    ],
)
def test_starts_are_found(line: str, options: list[str]) -> None:
    assert [option for _, option in starts_in(line)] == options


def test_lists_of_words_are_found() -> None:
    tree = ast.parse("a = [sys.executable, '-m', 'x']; b = (sys.executable, __file__); c = (sys.executable, *more)")
    assert [word for _, word in starts_by(tree)] == ["'-m'", "__file__", "*more"]
