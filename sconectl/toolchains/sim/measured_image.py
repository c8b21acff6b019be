"""Measures an image without starting it: the value that its launcher will find, and what the image says about itself.

In: the merged files of an image. Out: a `MeasuredImage`. Raises `PlanImpossible` for files that are no confidential
image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from sconectl.errors import PlanImpossible
from sconectl.image.layers.layer_index import entry_of
from sconectl.image.layers.root_tree import RootTree
from sconectl.protect.index import Difference, Entry, Index, differences
from sconectl.protect.measure import IMAGE_DIR, LAUNCHER_ROOT, NOT_LAUNCHER, measurement
from sconectl.protect.signature import BadSignature, SignedEnclave, verify
from sconectl.toolchains.interface import MeasuredImage

_MAX_JSON = 256 << 20
_IMAGE_ROOT = f"{LAUNCHER_ROOT}/{IMAGE_DIR}"
_SIGSTRUCT = "sigstruct.bin"


def measure_image(tree: RootTree) -> MeasuredImage:
    """Measure the image whose files are in `tree`, as its launcher will. Raises `PlanImpossible` and `BuildFailed`."""
    try:
        expected = Index.from_bytes(_read(tree, "index.json"))
        if not all(isinstance(path, str) for path in (*expected.outside, *expected.sealed)):
            raise ValueError("not paths")
        enclave = json.loads(_read(tree, "enclave.json"))
        launcher_expected = str(enclave["launcher"])
        parameters = {str(name): str(value) for name, value in enclave["parameters"].items()}
        signer = str(enclave.get("signer") or "")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PlanImpossible(
            "this is no confidential image of sconectl: it does not describe an enclave",
            hint="`sconectl apply -f <service manifest>` makes one",
        ) from error
    launcher = Index(NOT_LAUNCHER, (), dict(_entries(tree, LAUNCHER_ROOT, frozenset(NOT_LAUNCHER)))).digest()
    root = Index(expected.outside, expected.sealed, dict(_entries(tree, "", frozenset(expected.outside))))
    changes = differences(expected, root)
    if launcher != launcher_expected:
        changes.insert(0, Difference("changed", f"{LAUNCHER_ROOT} (the launcher itself)"))
    found = measurement(launcher=launcher, root=root.digest(), parameters=parameters)
    signed, faults = _signature(tree, found, parameters, signer)
    return MeasuredImage(
        found=found,
        expected=measurement(launcher=launcher_expected, root=expected.digest(), parameters=parameters),
        root=root.digest(),
        parameters=parameters,
        changes=tuple(changes),
        signed=signed,
        faults=faults,
    )


def _signature(
    tree: RootTree, found: str, parameters: Mapping[str, str], signer: str
) -> tuple[SignedEnclave | None, tuple[str, ...]]:
    """Return the content of the image's signature, and its faults."""
    if tree.member(f"{_IMAGE_ROOT}/{_SIGSTRUCT}") is None:
        return None, (f"the image has lost its signature by {signer}",) if signer else ()
    try:
        signed = verify(_read(tree, _SIGSTRUCT))
    except (BadSignature, LookupError) as error:
        return None, (f"the signature of the image is not valid: {error}",)
    faults = []
    if signed.measurement != found:
        faults.append(f"the signature is for the measurement {signed.measurement}")
    if signed.debug != (parameters.get("mode") != "production"):
        faults.append("the signature is for another mode")
    return signed, tuple(faults)


def _read(tree: RootTree, name: str) -> bytes:
    path = f"{_IMAGE_ROOT}/{name}"
    member = tree.member(path)
    if member is None or member.kind != "f" or member.size > _MAX_JSON:
        raise LookupError(path)
    return tree.read(path)


def _entries(tree: RootTree, root: str, outside: frozenset[str]) -> Iterator[tuple[str, Entry]]:
    """Yield the entries that `protect.live.scan` finds in a container of the image; paths begin below `root`."""
    pending = [""]
    while pending:
        parent = pending.pop()
        for name in tree.names(root + parent or "/"):
            path = f"{parent}/{name}"
            if path in outside:
                continue
            member = tree.members[root + path]
            yield path, entry_of(member) or ("special", member.kind)
            if member.kind == "d":
                pending.append(path)
