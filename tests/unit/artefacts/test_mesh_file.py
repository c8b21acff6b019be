"""The mesh that `apply -p --file` writes: what was given stays, and env comes last, open for more sections."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sconectl.artefacts.mesh_file import mesh_file
from sconectl.manifest.model.mesh import Mesh
from sconectl.manifest.reading.reader import read_document, read_manifest
from sconectl.plan.values.variables import Entry, Section
from sconectl.text.yaml_tree import parse, parse_all

GLOBAL = Section(
    "global", (Entry("NEEDED", None, "needed by web"), Entry("A", "1"), Entry("B", "b c", "default of web"))
)
WEB = Section("web", (Entry("TEXT", "one\n  two\n\n", "default"), Entry("EMPTY", "")))
ENV = """\
env:
- service: global
  env:
  # - name: NEEDED  # needed by web
  #   value:
  - name: A
    value: "1"
  - name: B  # default of web
    value: b c
- service: web
  env:
  - name: TEXT  # default
    value: |+
      one
        two

  - name: EMPTY
    value: ""
"""
PATCH = """\
- service: global
  env:
  - {name: A, value: patched}
"""


def mesh_of(text: str, **variables: str) -> Mesh:
    model = read_manifest(text, "mesh.yaml", variables).model
    assert isinstance(model, Mesh)
    return model


def written(text: str, *sections: Section, **variables: str) -> str:
    """Return the new file; everything but env has to be what it was, also with more sections behind it."""
    manifest = read_manifest(textwrap.dedent(text), "mesh.yaml", variables)
    assert isinstance(manifest.model, Mesh)
    new = mesh_file(manifest.document, sections)
    model = mesh_of(new)
    assert model.model_copy(update={"env": ()}) == manifest.model.model_copy(update={"env": ()})
    assert [(s.service, e.name, e.value) for s in model.env for e in s.env] == [
        (s.service, e.name, e.value) for s in sections for e in s.entries if e.value is not None
    ]
    more = mesh_of(new + PATCH).env
    assert more[:-1] == model.env
    assert more[-1].env[0].value == "patched"
    return new


def test_comments_stay_and_env_goes_to_the_end() -> None:
    text = """\
        # A mesh.
        apiVersion: scone/5.8
        kind: mesh  # of one service

        cas: [{cas_url: "$CAS", name: 'cas'}]   # where

        # What the services get.
        # Two lines.

        env:   # old
          - service: global
            env: [{name: A, value: x}]
            # the last line of env
        # The policy.
        policy: {namespace: $NS}

        services:
          - name: web
            image: $REPO/web:1 # the image
        """
    assert written(text, GLOBAL, WEB, CAS="cas.example.org", NS="a", REPO="r.example.org:5000/x") == (
        """\
# A mesh.
apiVersion: scone/5.8
kind: mesh  # of one service

cas: [{cas_url: cas.example.org, name: 'cas'}]   # where

# The policy.
policy: {namespace: a}

services:
  - name: web
    image: "r.example.org:5000/x/web:1" # the image

# What the services get.
# Two lines.
"""
        + ENV
    )


BLOCK = """\
apiVersion: scone/5.8
kind: mesh
cas:
- cas_url: c
policy:
  namespace: a
services:
- name: web
  image: r.example.org/web:1
"""


@pytest.mark.parametrize("env", ["env:\n", "env: null\n", "env: []\n", "env: ~\n"])
def test_an_empty_env_stays_open(env: str) -> None:
    assert written(BLOCK + env) == BLOCK + "\nenv:\n"
    assert written(BLOCK + env, GLOBAL).startswith(BLOCK + "\nenv:\n- service: global\n")


def test_a_section_may_hold_nothing_but_what_is_needed() -> None:
    new = written(BLOCK + "env:\n", Section("global", (Entry("X", None, "needed by web"),)))
    assert new.endswith("env:\n- service: global\n  env:\n  # - name: X  # needed by web\n  #   value:\n")


@pytest.mark.parametrize(
    "text",
    [
        "{apiVersion: scone/5.8, kind: mesh, env: [], cas: [{cas_url: c}], policy: {namespace: a},"
        ' services: [{name: web, image: "r/web:1"}]}',
        BLOCK.replace("cas_url: c", "cas_url: >-\n    $LONG\n") + "env: []\n",
        BLOCK.replace("cas_url: c", 'cas_url: "\\x24LONG"') + "env: []\n",
        BLOCK.replace("namespace: a", "namespace: *name").replace("cas:", "env:\n- {service: &name web}\ncas:"),
        BLOCK.replace("namespace: a", "namespace: &a $NS\n  tolerate: *a") + "env: []\n",
        "--- # first\nenv: []\n" + BLOCK + "...\n",
    ],
)
def test_what_cannot_be_kept_as_it_is_written_is_written_anew(text: str) -> None:
    new = written(text, GLOBAL, LONG="c.example.org", NS="debug-mode")
    assert new.startswith("apiVersion: scone/5.8\nkind: mesh\n")


def test_variables_with_line_breaks_are_quoted() -> None:
    text = BLOCK.replace("cas_url: c", "cas_url: c\n  tolerance: $T # flags") + "env: []\n"
    assert 'tolerance: "-G\\n-S" # flags' in written(text, GLOBAL, T="-G\n-S")


def test_of_several_documents_in_a_file_only_the_mesh_is_taken() -> None:
    first = BLOCK.replace("namespace: a", "namespace: first") + "env: []\n"
    documents = parse_all(f"{first}---\n# second\n{BLOCK}env: []\n", "mesh.yaml")
    manifest = read_document(documents[1], {})
    new = mesh_file(manifest.document, (GLOBAL,))
    assert mesh_of(new).policy.namespace == "a"
    assert "# second" in new
    assert "first" not in new


def test_names_from_an_image_cannot_add_lines() -> None:
    new = mesh_file(
        read_manifest(BLOCK + "env:\n", "m", {}).document, [Section("global", (Entry("A\nkind: x", None),))]
    )
    assert "\nkind: x" not in new
    assert mesh_of(new).env[0].env == ()


def test_large_meshes_are_kept_as_they_are_written() -> None:
    services = f"# {'x' * 1000}\n- name: s\n  image: r.example.org/s:1\n" * 1100
    text = BLOCK + services + "env: []\n"
    document = parse(text, "mesh.yaml", limit=2 << 20)
    assert mesh_file(document, ()) == BLOCK + services + "\nenv:\n"


def test_the_same_again_changes_nothing() -> None:
    once = written(BLOCK + "env: []\n", GLOBAL, WEB)
    assert written(once, GLOBAL, WEB) == once


# Values are written as they are given, so that $NAME would be a variable: who writes a text escapes it before.
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0$"), max_size=30) | st.text(
    " \n|->+#:'\"{a", max_size=12
)


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, st.booleans()), max_size=4), VALUES)
def test_every_value_comes_back(values: list[tuple[str, bool]], key: str) -> None:
    entries = tuple(Entry(f"V{n}", value, "why" if remark else "") for n, (value, remark) in enumerate(values))
    text = BLOCK.replace("cas_url: c", 'cas_url: c\n  cas_key: "$KEY" # flags') + "env: []\n"
    written(
        text,
        Section("global", (*entries, Entry("LAST", None))),
        Section("web", entries),
        KEY=key.replace("$", "") or "x",
    )
