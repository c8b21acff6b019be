"""Files of variables: the dialect of Docker Compose, and faults where Compose would guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sconectl.errors import InvalidInput
from sconectl.manifest.reading.env_file import read_env_file


def read(text: str | bytes, **environment: str) -> dict[str, str]:
    raw = text if isinstance(text, bytes) else text.encode()
    return read_env_file(raw, "x.env", {"SET": "set"}, {"OTHER": "other"}, environment)


def value(text: str) -> str:
    """Return what a file says for VAR."""
    return read(text)["VAR"]


def faults(text: str | bytes, **environment: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(text, **environment)
    return [f"{f.position.line}:{f.position.column} {f.code} {f.message}" for f in caught.value.findings]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # the examples of Docker's page about the syntax of env files
        ("VAR=VAL", "VAL"),
        ('VAR="VAL"', "VAL"),
        ("VAR='VAL'", "VAL"),
        ("VAR: VAL", "VAL"),
        ("VAR = VAL  ", "VAL"),
        ("VAR=VAL # comment", "VAL"),
        ("VAR=VAL# not a comment", "VAL# not a comment"),
        ('VAR="VAL # not a comment"', "VAL # not a comment"),
        ('VAR="VAL" # comment', "VAL"),
        ("VAR='$OTHER'", "$OTHER"),
        ("VAR='${OTHER}'", "${OTHER}"),
        (r"VAR='Let\'s go!'", "Let's go!"),
        (r'VAR="{\"hello\": \"json\"}"', '{"hello": "json"}'),
        (r'VAR="some\tvalue"', "some\tvalue"),
        (r"VAR='some\tvalue'", r"some\tvalue"),
        (r"VAR=some\tvalue", r"some\tvalue"),
        # variables
        ("VAR=$OTHER", "other"),
        ('VAR="<${OTHER}>"', "<other>"),
        ("VAR=${GONE:-default}", "default"),
        ("VAR=${GONE-}", ""),
        ("VAR=${OTHER:+yes}", "yes"),
        ("VAR=$SET", "set"),
        ("VAR=a$$OTHER", "a$OTHER"),
        ("VAR=$$", "$"),
        (r'VAR="\$OTHER \${OTHER}"', "$OTHER ${OTHER}"),
        (r"VAR=\$OTHER", r"\other"),
        ("VAR=$$SCONE::token$$", "$$SCONE::token$$"),
        ("VAR=5$ $1", "5$ $1"),
        # the rest
        ("export VAR=1", "1"),
        ("  export\tVAR=1", "1"),
        ("VAR=", ""),
        ("VAR=''", ""),
        ("VAR=a=b=", "a=b="),
        ("VAR=1:B", "1:B"),
        ("VAR=it's", "it's"),
        ("VAR=#secret", "#secret"),
        ('VAR="a" #b', "a"),
        ("VAR='first\nsecond'", "first\nsecond"),
        (r"VAR='a\\b'", r"a\\b"),
        (r'VAR="a\\b\x\0123"', r"a\b\xS"),
        ("VAR=1\r", "1"),
        ("VAR=1\nVAR=2", "2"),
        ("A=1\nVAR=$A$A", "11"),
        ("A=1\n\n# text\n\t# text\nVAR=$A", "1"),
    ],
)
def test_lines(line: str, expected: str) -> None:
    assert value(line) == expected
    assert value(f"{line}\r\nNEXT=1\r\n") == expected


def test_byte_order_mark_and_names_from_elsewhere() -> None:
    assert read("\ufeffVAR=1".encode()) == {"OTHER": "other", "VAR": "1"}
    assert read("VAR\nB=$VAR\nC=$LATE", VAR="env", LATE="late", OTHER="no") == {
        "OTHER": "other", "VAR": "env", "B": "env", "C": "late",
    }  # fmt: skip
    assert read("OTHER=mine\nB=$OTHER$SET", OTHER="env", SET="env")["B"] == "mineset"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\nno sign", "2:1 SC1014 expected NAME=VALUE"),
        ("=value", "1:1 SC1014 expected NAME=VALUE"),
        ("1A=x", "1:1 SC1014 expected NAME=VALUE"),
        ("A B=hunter2", "1:1 SC1014 expected NAME=VALUE"),
        ("ALONE", "1:1 SC1014 expected NAME=VALUE: ALONE alone is for a variable of the environment, which has none"),
        ("A='hunter2", "1:3 SC1014 a quote that is never closed"),
        ('A="hunter2\\"', "1:3 SC1014 a quote that is never closed"),
        ("A='x'hunter2", "1:6 SC1014 text behind the closing quote"),
        ("A=x\t# note", "1:4 SC1014 a comment begins behind a space, not behind a tab"),
        ("A= # note", "1:4 SC1014 this may be a value or a comment"),
        ("A=1\nB=$GONE", "2:3 SC1003 $GONE has no value"),
        ("A=abc$xyz", "1:3 SC1003 a variable in it has no value"),
        ("A=${OTHER%x}", "1:3 SC1003 a ${…} that has a form that is not known here"),
        ("A=${GONE:?x}", "1:3 SC1003 $GONE has no value"),
        (b"A=1\nB=\xff", "2:1 SC1014 the file is not UTF-8 text"),
        ("A=1\nB=\0", "2:1 SC1014 a NUL character"),
        *(
            (f'A="hunter2\\n\n{nul}x"', "2:1 SC1014 a NUL character, which no variable can hold")
            for nul in (r"\0", r"\00", r"\000", r"\0000", r"\0400")
        ),
    ],
)
def test_faults(text: str | bytes, expected: str) -> None:
    found = faults(text)
    assert found == [expected]
    assert "hunter2" not in str(found)


def test_what_only_looks_like_a_nul_is_text() -> None:
    assert value(r'VAR="a\\0b\$0\0101"') == r"a\0b$0A"


def test_all_faults_at_once() -> None:
    assert len(faults("x y\n" * 1000 + "A=$B\n" * 1000)) == 2000


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30))
def test_every_value_can_be_written(text: str) -> None:
    text = text.replace("\r\n", "\n")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert value(f'VAR="{escaped}" # "') == text
    if "\\" not in text:
        quoted = text.replace("'", "\\'")
        assert value(f"VAR='{quoted}'") == text
