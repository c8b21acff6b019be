"""Text of a native image reaches the program byte for byte, whatever it looks like.

The whole way is gone: configuration of the image, facts (as JSON), compiled mesh, text of the session, the rules of the
language, the store of a CAS, and what its answer becomes in the launcher.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fakes.builders import MEASUREMENT, compiled, environment, facts, service_plan, service_text, session
from fakes.roots import MemoryRoot
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.artefacts.session import session_text
from sconectl.cas.keys.cas_keys import CasKeys
from sconectl.errors import PlanImpossible
from sconectl.image.settings.native_environment import HOST_NAMES, native_environment
from sconectl.manifest.model.fields import CommandLine
from sconectl.plan.facts.image_facts import ImageFacts
from sconectl.plan.service.service import image_facts
from sconectl.plan.values.literals import literal_argument, literal_secrets, literal_text
from sconectl.policy.reading import parse_session
from sconectl.runtime.configuration import Configuration, Host, read_configuration

from .enclave_world import World, make_keys

ROOT = MemoryRoot({"/etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n"})
PIECES = (
    "{{namespace}}", "{{ time }}", "{{ x | upper }}", "{% raw %}", "{% endraw %}", "{# no #}", "$$SCONE::x$$",
    "$$SCONE::", "$$SCONE:", "$$", "$", "::", "@@1", "@@", "\\@\\@X", "$HOME", "${VAR}", "${VAR:-{{x}}}", "$VAR",
    "'", '"', "\\", "\n", "\r", "\t", " ", "=", ": ", "#", "- ", "!akv", "&a", "*a", "|", ">", "%", "`", "yes", "null",
    "~", "0x1f", "1e3", "ü", "\u2028", "\ufeff", "\x1b", "\x7f", "\x85", "🦊", "SCONE::x$$",
    "sconectl-literal-dollars", "a",
)  # fmt: skip
TEXT = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=8).map("".join),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30),
)
NAME = TEXT.map(lambda text: text.replace("=", "")).filter(lambda name: name and not name.startswith("\\@\\@"))


def native_facts(words: Sequence[str], variables: Mapping[str, str]) -> ImageFacts:
    """Return the facts of a converted image, as they come back from where they are kept."""
    plan = replace(service_plan(service_text()), command=CommandLine.of(words), literal_command=True)
    found = native_environment({"Env": [f"{name}={value}" for name, value in variables.items()]}, ROOT)
    made = image_facts(
        plan,
        measurement=MEASUREMENT,
        root="cd" * 32,
        outside=(),
        fspf=None,
        image_environment=found.given,
        runtime_environment=found.added,
        host_names=HOST_NAMES,
        salt="",
    )
    return ImageFacts.read(made.to_json())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    keys: CasKeys = make_keys(tmp_path_factory.mktemp("keys") / "cas")
    return World(keys, tmp_path_factory.mktemp("world"))


def started(world: World, image: ImageFacts, host: Mapping[str, str], **mesh: Any) -> Configuration:
    """Return what the launcher of this image gets, in a container with the environment `host`."""
    document = session(compiled(image, **mesh), "web")
    parse_session(session_text(document))
    kept = {key: document[key] for key in ("services", "images", "secrets") if key in document}
    [service] = kept["services"]
    world.put(session_text({"name": "acme", "version": document["version"], **kept}).split("\n", 2)[2])
    return read_configuration({"config": world.attest(f"acme/{service['name']}")}, Host((), host))


@settings(max_examples=80, deadline=None)
@given(words=st.lists(TEXT, min_size=1, max_size=4), variables=st.dictionaries(NAME, TEXT, max_size=4))
def test_every_text_arrives(world: World, words: list[str], variables: dict[str, str]) -> None:
    words[0] = words[0] or "program"
    config = started(world, native_facts(words, variables), {"HOSTNAME": "pod-1", "HOME": "/of/the/operator"})
    assert list(config.argv) == words
    defaults = {"HOME": "/root", "HOSTNAME": "pod-1", "PATH": config.environment["PATH"]}
    expected = defaults | variables
    if not expected["HOME"]:
        expected["HOME"] = "/root"
    assert config.environment == expected


@pytest.mark.parametrize(
    "text", ["{{namespace}}", "{{ time }}", "$$SCONE::x$$", "@@1", "$$SCONE::", "a$$SCONE::b$$$$SCONE"]
)
def test_texts_that_have_a_meaning_elsewhere(world: World, text: str) -> None:
    config = started(world, native_facts(["program", text], {"X": text}), {})
    assert config.argv == ("program", text)
    assert config.environment["X"] == text


def test_what_the_author_wrote_is_a_template(world: World) -> None:
    image = native_facts(["program"], {"X": "{{release}}", "Y": "{{release}}"})
    declared = facts(
        environment={"global": [{"name": "X", "value": "{{namespace}}"}], "local": [{"name": "L", "value": "{{Z}}"}]}
    )
    own = declared.environment
    changed = image.model_copy(
        update={"environment": image.environment.model_copy(update={"global_": own.global_, "local": own.local})}
    )
    config = started(world, changed, {}, env={"web": {"Z": "z"}})
    assert [config.environment[name] for name in "LXY"] == ["z", "shop", "{{release}}"]


def test_a_text_without_a_mark_stays_as_it_is() -> None:
    plain = ["$$", "$SCONE", "x@@1", "@@x", "{{x}}", "@@", ""]
    assert [literal_text(text) for text in plain] == plain
    assert [literal_argument(text) for text in plain] == plain
    assert literal_secrets(plain) == []


def test_no_secret_is_made_that_is_not_needed() -> None:
    document = session(compiled(native_facts(["program", "@@1"], {})), "web")
    assert document["secrets"] == [{"name": "sconectl-literal-ats", "kind": "ascii", "value": "@@"}]
    assert "secrets" not in session(compiled(native_facts(["program"], {})), "web")


def test_the_container_gives_its_name_only_where_nobody_else_does() -> None:
    assert environment(compiled(native_facts(["program"], {})), "web")["\\@\\@HOSTNAME"] == ""
    named = environment(compiled(native_facts(["program"], {"HOSTNAME": "fixed"})), "web")
    assert named["HOSTNAME"] == "fixed" and "\\@\\@HOSTNAME" not in named


def test_facts_without_all_that_are_as_before() -> None:
    document = json.loads(facts().to_json())
    assert "literal_command" not in document
    assert sorted(document["environment"]) == ["global", "image", "local"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [("=x", "variable without a name"), ("\\@\\@X=1", "cannot give to a program"), ("A=\0", "NUL character")],
)
def test_names_that_no_policy_can_say_are_refused(entry: str, said: str) -> None:
    with pytest.raises(PlanImpossible, match=said):
        native_environment({"Env": [entry]}, ROOT)


PASSWD = (
    b"root:x:0:0:root:/root:/bin/sh\n# comment\n\napp:x:1000:1000::/srv/app:/bin/sh\n"
    b"second:x:1000:1000::/srv/other:/bin/sh\n"
    b"homeless:x:1001:1001\ntoor:x:0:0::/toor:/bin/sh\n"
)


@pytest.mark.parametrize(
    ("user", "home"),
    [
        ("", "/root"),
        ("0", "/root"),
        ("root", "/root"),
        ("toor", "/root"),  # the first entry with the number
        ("app", "/srv/app"),
        ("second:audio", "/srv/app"),
        ("1000:7", "/srv/app"),
        ("1000", "/srv/app"),
        ("4711", "/"),
        ("4711:4712", "/"),
        ("homeless", ""),
        ("+1000", "/srv/app"),
    ],
)
def test_home_is_that_of_the_user(user: str, home: str) -> None:
    root = MemoryRoot({"/etc/passwd": PASSWD, "/etc/group": b"audio:x:29:app\n"})
    assert native_environment({"User": user}, root).added["HOME"] == home


def test_without_a_file_of_users_home_is_the_root() -> None:
    assert native_environment({"User": "65532:0"}, MemoryRoot({})).added["HOME"] == "/"
    assert native_environment({}, MemoryRoot({"/etc/passwd": "../users", "/users": PASSWD})).added["HOME"] == "/root"


@pytest.mark.parametrize("user", ["nobody-here", "1000:nogroup", "4294967295", "-1"])
def test_users_that_no_container_runtime_finds(user: str) -> None:
    with pytest.raises(PlanImpossible, match="no container of it can start"):
        native_environment({"User": user}, MemoryRoot({"/etc/passwd": PASSWD}))


@pytest.mark.parametrize(
    ("entries", "given", "added"),
    [
        (["A=1", "A=2"], {"A": "2"}, {"PATH", "HOME"}),
        (["A=1", "A"], {}, {"PATH", "HOME"}),
        (["PATH=/x"], {"PATH": "/x"}, {"HOME"}),
        (["PATH"], {}, {"HOME"}),
        (["HOME="], {}, {"PATH", "HOME"}),
        (["HOME=/h", "PATH="], {"HOME": "/h", "PATH": ""}, set()),
    ],
)
def test_the_runtime_adds_what_is_missing(entries: list[str], given: dict[str, str], added: set[str]) -> None:
    found = native_environment({"Env": entries}, ROOT)
    assert found.given == given
    assert set(found.added) == added
