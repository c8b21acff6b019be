"""User, group and home directory of an image, whatever its account files hold: refused, or read as runc does."""

from __future__ import annotations

import pytest
from fakes.roots import MemoryRoot

from sconectl.errors import PlanImpossible
from sconectl.image.settings.account_numbers import account_number, field_number
from sconectl.image.settings.native_environment import native_environment

LONG = "9" * 5000  # Python's own int() raises ValueError for it
GOOD = "root:x:0:0:root:/root:/bin/sh\n"


def home(user: str, passwd: bytes | str, group: bytes = b"root:x:0:\n", env: tuple[str, ...] = ()) -> str:
    content = passwd if isinstance(passwd, bytes) else passwd.encode()
    root = MemoryRoot({"/etc/passwd": content, "/etc/group": group})
    found = native_environment({"User": user, "Env": list(env)}, root)
    return {**found.added, **found.given}["HOME"]


@pytest.mark.parametrize("sign", ["", "+", "-"])
@pytest.mark.parametrize("number", [LONG, str(1 << 63), str(1 << 31)])
@pytest.mark.parametrize("form", ["{}", "{}:0", "0:{}", "root:{}", "big", "0:big"])
def test_numbers_out_of_range_start_nowhere(sign: str, number: str, form: str) -> None:
    text = sign + number
    accounts = f"big:x:{text}:0::/big:/bin/sh\n{GOOD}"
    with pytest.raises(PlanImpossible, match="number is out of range") as caught:
        home(form.format(text), accounts, f"big:x:{text}:\n".encode())
    assert len(str(caught.value)) < 300


def test_accounts_that_are_not_asked_for_do_not_matter() -> None:
    assert home("", f"big:x:{LONG}:{LONG}::/big:\n{GOOD}") == "/root"
    assert home("7:7", f"big:x:{LONG}:{LONG}::/big:\n{GOOD}") == "/"
    assert home("0" * 5000, GOOD) == "/root"
    assert home("+0", GOOD) == "/root"


@pytest.mark.parametrize("folder", [b"/h\xff", b"/h\0me", b"\xed\xa0\x80"])
def test_a_home_that_no_policy_can_say_is_refused(folder: bytes) -> None:
    passwd = b"me:x:5:5::" + folder + b":/bin/sh\n" + GOOD.encode()
    for env in ((), ("HOME=",)):
        with pytest.raises(PlanImpossible, match="home directory"):
            home("me", passwd, env=env)
    assert home("me", passwd, env=("HOME=/srv",)) == "/srv"
    assert home("", passwd) == "/root"


@pytest.mark.parametrize(
    ("text", "number", "field"),
    [
        ("0", 0, 0), ("+7", 7, 7), ("-7", -7, -7), ("007", 7, 7), ("", None, 0), ("+", None, 0), ("1_0", None, 0),
        (" 1", None, 0), ("\u0663", None, 0), (str((1 << 63) - 1), (1 << 63) - 1, (1 << 63) - 1),
        (str(-1 << 63), -1 << 63, -1 << 63), (str(1 << 63), None, 1 << 63), (LONG, None, int("9" * 20)),
    ],
)  # fmt: skip
def test_numbers_are_read_as_go_reads_them(text: str, number: int | None, field: int) -> None:
    assert (account_number(text), field_number(text)) == (number, field)
