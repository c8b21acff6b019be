"""The starter manifests of `sconectl init`: commented, and valid as they are.

In: a `Program` and its names. Out: the files to write, by name, and what the user still has to fill in.
"""

from __future__ import annotations

from collections.abc import Iterable

from sconectl.plan.service.base_images import is_java
from sconectl.starter.init_program import NO_COMMAND, Program
from sconectl.starter.init_sources import Variable
from sconectl.text.yaml_text import dump

SERVICE, MESH, IGNORE = "service.yaml", "mesh.yaml", ".dockerignore"

_IGNORED = f"""\
# What `docker build` leaves out. target/ holds values that belong to the service alone.
target/
{SERVICE}
{MESH}
.git/
.env
"""
_PYTHON_LOCALS = """\
    - name: SCONE_HEAP # memory for all of the program; measured, like the next one
      value: 256M
    - name: SCONE_ALLOW_DLOPEN # Python loads its own extension modules
      value: 1
"""
_JAVA_LOCALS = """\
    - name: SCONE_HEAP # memory for all of the program; measured, like the next two
      value: 1G
    - name: SCONE_ALLOW_DLOPEN # the virtual machine loads libraries of its own
      value: 1
    - name: SCONE_MPROTECT # and writes the machine code that it runs
      value: 1
"""


def starters(program: Program, *, name: str, image: str, with_ignore: bool) -> dict[str, bytes]:
    """Return the files: both manifests, and `.dockerignore` if it is wanted and a Dockerfile makes the image."""
    files = {SERVICE: _service(program, name, image), MESH: _mesh(program, name, image)}
    if with_ignore and program.dockerfile:
        files[IGNORE] = _IGNORED
    return {file: text.encode() for file, text in files.items()}


def to_fill_in(program: Program) -> tuple[str, ...]:
    """Return the variables that the mesh has to give and that have no value yet."""
    return tuple(variable.name for variable in _globals(program) if variable.default is None)


def _text(value: str) -> str:
    return dump(value).rstrip("\n")


def _image(reference: str) -> str:
    """Return an image reference as people write it: those that begin with a letter need no quotes."""
    return reference if reference[:1].isalpha() else _text(reference)


def _service(program: Program, name: str, image: str) -> str:
    known = program.command != NO_COMMAND
    command = "the full command line; in no image, only the policy brings it" if known else "put the command line here"
    lines = [
        "# How the program becomes a confidential image: sconectl apply -f service.yaml",
        "# Check it: sconectl validate -f service.yaml. More about a field: sconectl explain genservice.build.dirs",
        "apiVersion: scone/5.8",
        "kind: genservice",
        "",
        "build:",
        f"  name: {_text(name)}",
        f"  kind: {program.kind}{_kind_comment(program)}",
        *_native(program),
        f"  to: {_image(image)} # the image to make; put your registry in front, or push nothing with `apply -n`",
        f"  pwd: {_text(program.folder)} # the working directory{'; `copy` puts files here' if program.copied else ''}",
        f"  command: {_text(program.command)} # {command}",
    ]
    if program.requirements:
        lines.append(f"  requirements: {_text(program.requirements)} # installed with pip")
    if program.copied:
        lines += ["  copy: # relative to this file", *(f"    - {_text(path)}" for path in program.copied)]
    lines += [
        "  # dirs: # directories whose files are encrypted; all others can be read, but not changed",
        f"  #   - {_text(program.folder.rstrip('/') + '/data')}",
        "",
        *_environment(program, name),
        "",
        *_secrets(program, name),
    ]
    return "\n".join(lines) + "\n"


def _kind_comment(program: Program) -> str:
    if program.kind == "sconify_image":
        return " # an existing image is converted"
    return " # sources are compiled when the image is built" if is_java(program.kind) else ""


def _native(program: Program) -> list[str]:
    if not program.native:
        return []
    if program.dockerfile:
        return [
            f"  # Build it first: docker build -t {program.native} .",
            f"  from: {_image(program.native)} # the image to convert",
        ]
    return [f"  from: {_image(program.native)} # the image to convert"]


def _globals(program: Program) -> list[Variable]:
    return [variable for variable in program.variables if not variable.is_secret]


def _credentials(program: Program) -> list[Variable]:
    return [variable for variable in program.variables if variable.is_secret]


def secret_name(service: str, variable: str) -> str:
    """Return the name of the secret behind a variable: unique in a mesh, since it begins with the service."""
    return f"{service}-{variable.lower().replace('_', '-')}".rstrip("-")


def _locals(kind: str) -> list[str]:
    text = _JAVA_LOCALS if is_java(kind) else _PYTHON_LOCALS if kind == "python" else ""
    return text.splitlines()


def _environment(program: Program, name: str) -> list[str]:
    local = _locals(program.kind)
    for variable in _credentials(program):
        value = f"$$SCONE::{secret_name(name, variable.name)}$$"
        local += [f"    - name: {variable.name}", f"      value: {_text(value)} # filled in by the CAS at the start"]
    lines = ["environment:"]
    if local:
        lines += ["  local: # fixed here; a mesh cannot change it", *local]
    else:
        lines += ["  local: [] # fixed here; a mesh cannot change it"]
    if not _globals(program):
        return [*lines, "  global: [] # set by the mesh; a value here is the default"]
    lines.append("  global: # set by the mesh; a value here is the default")
    for variable in _globals(program):
        lines.append(f"    - name: {variable.name}")
        if variable.default is not None:
            lines.append(f"      value: {_text(variable.default)}")
    return lines


def _secrets(program: Program, name: str) -> list[str]:
    found = _credentials(program)
    if found:
        lines = ["secrets:", "  global: # without a value: the CAS draws one, once, and nobody ever reads it"]
        for variable in found:
            lines += [f"    - name: {_text(secret_name(name, variable.name))}", "      kind: ascii", "      size: 32"]
        return lines
    return [
        "# secrets: # without a value: the CAS draws one; use it above as $$SCONE::" + f"{name}-password$$",
        "#   global:",
        f"#     - name: {name}-password",
        "#       kind: ascii",
        "#       size: 32",
    ]


def _mesh(program: Program, name: str, image: str) -> str:
    return "\n".join(
        [
            "# How the services run together: sconectl apply -f mesh.yaml",
            "# It writes a policy for each service into the CAS, and a Helm chart to target/helm.",
            "apiVersion: scone/5.8",
            "kind: mesh",
            "",
            "cas:",
            "  - name: cas",
            "    alias: [image, security, access, attestation]",
            "    cas_url: local # the embedded CAS, to try things; else its address, like cas.default",
            "    # cas_key: the key that the CAS has to have, as `sconectl cas show-identification` prints it",
            "",
            "policy:",
            f"  namespace: {_text(name)} # of the policies; has to be your own in this CAS",
            "",
            *_sections(_globals(program)),
            "",
            "services:",
            f"  - name: {_text(name)}",
            f"    image: {_image(image)} # what `to` in service.yaml says",
            "",
        ]
    )


def _sections(found: Iterable[Variable]) -> list[str]:
    entries: list[str] = []
    for variable in found:
        if variable.default is None:
            entries += [f"      - name: {variable.name}", '        value: "" # fill in']
        else:
            entries += [f"      # - name: {variable.name}", f"      #   value: {_text(variable.default)}"]
    if not entries:
        return ["env: [] # values of the variables that service.yaml lists as global"]
    head = ["env:", "  - service: global # for all services; a section with the name of a service is for that one"]
    has_values = any(not line.lstrip().startswith("#") for line in entries)
    return [*head, "    env:" if has_values else "    env: [] # the defaults of service.yaml are:", *entries]
