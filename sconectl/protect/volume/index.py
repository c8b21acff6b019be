"""The index of a volume, the file `volume.fspf`: the whole tree at a checkpoint, encrypted.

In: a tree and what belongs to the checkpoint, or bytes. Out: the other one. Raises `SealBroken` for bytes that are not
what was sealed. The state is readable without the key, and authenticated: a backup can say which state it is of.
"""

from __future__ import annotations

import hmac
import json
import struct
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sconectl.protect.chunks import TAG, SealBroken
from sconectl.protect.collector import no_collection
from sconectl.protect.volume.journal import STATE
from sconectl.protect.volume.model import DIRECTORY, Node, Stored, Tree

MAGIC = b"SCTLVOLI"
VERSION = 1
FILE = "volume.fspf"
_HEADER = struct.Struct(">8sBB2x12s16sQQ")
_NONCE = 12
ENCRYPTED, AUTHENTICATED = 1, 2
"""How contents of files are stored: encrypted, or plain with tags. Index and journal are always encrypted."""


@dataclass(frozen=True)
class Head:
    """What can be read without the key: the state, the number of the next journal, how contents are stored."""

    state: bytes
    journal: int
    contents: int


@dataclass(frozen=True)
class Checkpoint:
    """The content of an index.

    `previous` are the states that this one follows: the oldest may still be the CAS's tag. `gone` are the places of the
    checkpoint before that the storage need not have any more.
    """

    head: Head
    tree: Tree
    previous: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()


def read_head(data: bytes) -> Head:
    """Return what an index says without a key; it is not authenticated. Raises `SealBroken`."""
    if len(data) < _HEADER.size + TAG:
        raise SealBroken(f"{FILE} is cut off")
    magic, version, contents, _, state, journal, length = _HEADER.unpack_from(data)
    if (magic, version) != (MAGIC, VERSION) or contents not in (ENCRYPTED, AUTHENTICATED):
        raise SealBroken(f"{FILE} is no index of a volume, or of a version that this sconectl does not know")
    if len(data) != _HEADER.size + length + TAG:
        raise SealBroken(f"{FILE} is cut off or too long")
    return Head(state, journal, contents)


@no_collection()
def sealed(key: bytes, checkpoint: Checkpoint) -> bytes:
    """Return an index as bytes. The same checkpoint under the same key gives the same bytes."""
    tree, head = checkpoint.tree, checkpoint.head
    body = json.dumps(
        {
            "gone": [_text(place) for place in checkpoint.gone],
            "links": [[folder, _text(name), id_] for folder, found in sorted(tree.entries.items())
                      for name, id_ in sorted(found.items())],
            "next": tree.next_id,
            "nodes": [_as_list(node) for _, node in sorted(tree.nodes.items())],
            "previous": [state.hex() for state in checkpoint.previous],
        },
        separators=(",", ":"), sort_keys=True,
    ).encode("ascii")  # fmt: skip
    without = _HEADER.pack(MAGIC, VERSION, head.contents, bytes(_NONCE), head.state, head.journal, len(body))
    nonce = hmac.digest(key, b"sconectl volume nonce\0" + without + body, "sha256")[:_NONCE]
    header = _HEADER.pack(MAGIC, VERSION, head.contents, nonce, head.state, head.journal, len(body))
    return header + _cipher(key).encrypt(nonce, body, header)


@no_collection()
def opened(key: bytes, data: bytes) -> Checkpoint:
    """Read an index. Raises `SealBroken` if it was not sealed with `key`."""
    head = read_head(data)
    header = data[: _HEADER.size]
    try:
        body = json.loads(_cipher(key).decrypt(_HEADER.unpack(header)[3], data[_HEADER.size :], header))
    except InvalidTag as error:
        raise SealBroken(f"{FILE} was changed, or belongs to another key") from error
    try:
        previous = tuple(_state(text) for text in body["previous"])
        return Checkpoint(head, _tree(body), previous, tuple(_bytes(place) for place in body["gone"]))
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration) as error:
        raise SealBroken(f"{FILE} has another form than this sconectl knows") from error


def _cipher(key: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key, b"sconectl volume index", "sha256"))


def _as_list(node: Node) -> list[Any]:
    found: list[Any] = [node.id, node.kind, node.mode, node.uid, node.gid, node.mtime, node.size]
    if node.stored is not None:
        stored = node.stored
        return [
            *found,
            _text(stored.place),
            stored.identity.hex(),
            *(number for hole in stored.holes for number in hole),
        ]
    return [*found, _text(node.target)] if node.target else found


def _tree(body: dict[str, Any]) -> Tree:
    tree = Tree()
    for id_, kind, mode, uid, gid, mtime, size, *rest in body["nodes"]:
        stored, target = None, b""
        if len(rest) > 1:
            holes = tuple(zip(rest[2::2], rest[3::2], strict=True))
            stored = Stored(bytes.fromhex(rest[1]), size, _bytes(rest[0]), holes)
        elif rest:
            target = _bytes(rest[0])
        tree.nodes[id_] = Node(id_, kind, mode, uid, gid, mtime, size, target, stored)
        tree.names[id_] = {}
        if kind == DIRECTORY:
            tree.entries[id_] = {}
    for folder, text, id_ in body["links"]:
        name = _bytes(text)
        tree.entries[folder][name] = id_
        tree.names[id_][folder, name] = None
    tree.next_id = body["next"]
    return tree


def _state(text: str) -> bytes:
    state = bytes.fromhex(text)
    if len(state) != STATE:
        raise ValueError("not a state")
    return state


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
