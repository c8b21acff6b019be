"""The pattern language of `.dockerignore`, by examples that docker's documentation and users rely on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.apply.sources.path_patterns import IgnoreRules, compile_pattern, fixed_folder, ignore_rule, is_pattern

MATCHES = [
    ("a", "a"), ("*", "a"), ("*", ".hidden"), ("a*", "abc"), ("a*/b", "abc/b"), ("a?c", "abc"), ("[ab]", "b"),
    ("[^ab]", "c"), ("[a-c]x", "bx"), ("**", "a/b/c"), ("**", "a"), ("**/x", "x"), ("**/x", "a/b/x"),
    ("a/**", "a/b/c"), ("a/**/b", "a/b"), ("a/**/b", "a/x/y/b"), ("**/*.go", "a.go"), ("**/*.go", "x/y/a.go"),
    ("\\*", "*"), ("a\\[b", "a[b"), ("[\\]]", "]"), ("[a\\-z]", "-"), ("a.b", "a.b"), ("a+b(c)$", "a+b(c)$"),
    ("ü?", "üß"), ("?", "\n"), ("*", "new\nline"), ("*", "\udcff"),
]  # fmt: skip
OTHERS = [
    ("a", "b"), ("a", "a/b"), ("*", "a/b"), ("a?c", "a/c"), ("[^a]", "/"), ("a*", "ba"), ("**/x", "ax"),
    ("a/**/b", "ab"), ("a.b", "axb"), ("[a-c]", "d"), ("[a\\-z]", "m"), ("A", "a"), ("a", "a\n"),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "path"), MATCHES)
def test_what_matches(pattern: str, path: str) -> None:
    assert compile_pattern(pattern).match(path)


@pytest.mark.parametrize(("pattern", "path"), OTHERS)
def test_what_does_not(pattern: str, path: str) -> None:
    assert not compile_pattern(pattern).match(path)


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[^]", "a\\", "[z-a]", "[a\\]"])
def test_what_makes_no_sense(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"bracket|backslash|range"):
        compile_pattern(pattern)


@given(st.text(min_size=1).filter(lambda text: not text.endswith("\\")))
def test_every_pattern_is_refused_or_works(pattern: str) -> None:
    try:
        expression = compile_pattern(pattern)
    except ValueError:
        return
    expression.match("some/path")
    if not is_pattern(pattern) and "\\" not in pattern:
        assert expression.match(pattern)


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [("*.py", "."), ("src/*.py", "src"), ("src/**/x", "src"), ("a/b/[c]/d", "a/b"), ("a/\\*/b", "a"), ("./a/*", "a")],
)
def test_where_matches_can_be(pattern: str, folder: str) -> None:
    assert fixed_folder(pattern) == folder


def rules(text: str) -> IgnoreRules:
    return IgnoreRules(tuple(rule for line in text.splitlines() if (rule := ignore_rule(line))))


@pytest.mark.parametrize(
    ("text", "ignored", "kept"),
    [
        ("node_modules", ["node_modules", "node_modules/a/b"], ["src/node_modules", "node_modules2"]),
        ("**/node_modules", ["node_modules/a", "src/node_modules/x"], ["src"]),
        ("*.md\n!README*.md\nREADME-secret.md", ["a.md", "README-secret.md"], ["README.md", "README-x.md", "d/a.md"]),
        ("*.md\nREADME-secret.md\n!README*.md", ["a.md"], ["README.md", "README-secret.md"]),
        ("*\n!src/**/*.py", ["x", "src/a.txt", "src"], ["src/a.py", "src/b/c.py"]),
        ("/build/", ["build", "build/x"], ["src/build"]),
        ("./a/../b", ["b/c"], ["a"]),
        ("  temp?  ", ["tempa", "tempa/b"], ["temp", "tempab"]),
        ("# a\n\n.\n!\n/", [], ["a", "# a"]),
        (" # a", ["# a"], ["a"]),
        ("*/temp*", ["somedir/temporary.txt", "somedir/temp"], ["temporary.txt", "a/b/temp"]),
        ("a\n! a/b ", ["a/c"], ["a/b", "a/b/c"]),
    ],
)
def test_dockerignore(text: str, ignored: list[str], kept: list[str]) -> None:
    found = rules(text)
    assert [path for path in ignored if not found.ignore(path)] == []
    assert [path for path in kept if found.ignore(path)] == []


def test_exceptions_keep_directories_open() -> None:
    assert rules("a\nb").prunable
    assert not rules("a\n!a/b").prunable
