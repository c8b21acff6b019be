"""Operations as bytes, one behind the other, as frames of the journal hold them.

In: operations, or bytes that were authenticated. Out: the others. Raises `SealBroken` for bytes of another form.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from sconectl.protect.chunks import SealBroken
from sconectl.protect.volume.model import Make, Name, Node, Operation, Resize, Unname, Write, Zeros

_MAKE, _NAME, _UNNAME, _WRITE, _RESIZE, _ZEROS = range(1, 7)
_OF_MAKE = struct.Struct(">BQcIIIqH")
_OF_NAME = struct.Struct(">BQQH")
_OF_UNNAME = struct.Struct(">BQH")
_OF_WRITE = struct.Struct(">BQQI")
WRITE_HEAD = _OF_WRITE.size
"""Bytes before the data of a `Write`."""
_OF_RESIZE = struct.Struct(">BQQ")
_OF_ZEROS = struct.Struct(">BQQQ")


def write_head(id_: int, offset: int, length: int) -> bytes:
    """Return what stands before the data of a `Write`."""
    return _OF_WRITE.pack(_WRITE, id_, offset, length)


def encoded(operation: Operation) -> bytes:
    """Return an operation as bytes."""
    match operation:
        case Make(node):
            fields = (node.id, node.kind.encode(), node.mode, node.uid, node.gid, node.mtime, len(node.target))
            return _OF_MAKE.pack(_MAKE, *fields) + node.target
        case Name(folder, name, id):
            return _OF_NAME.pack(_NAME, folder, id, len(name)) + name
        case Unname(folder, name):
            return _OF_UNNAME.pack(_UNNAME, folder, len(name)) + name
        case Write(id, offset, data):
            return write_head(id, offset, len(data)) + bytes(data)
        case Zeros(id, offset, length):
            return _OF_ZEROS.pack(_ZEROS, id, offset, length)
        case Resize(id, size):
            return _OF_RESIZE.pack(_RESIZE, id, size)


def decoded(data: memoryview) -> Iterator[Operation]:
    """Yield the operations in the plain text of a frame; the data of writes are views of it."""
    place = 0
    try:
        while place < len(data):
            match data[place]:
                case 1:
                    _, id_, kind, mode, uid, gid, mtime, length = _OF_MAKE.unpack_from(data, place)
                    place += _OF_MAKE.size
                    target = _taken(data, place, length)
                    yield Make(Node(id_, kind.decode("ascii"), mode, uid, gid, mtime, target=bytes(target)))
                case 2:
                    _, folder, id_, length = _OF_NAME.unpack_from(data, place)
                    place += _OF_NAME.size
                    yield Name(folder, bytes(_taken(data, place, length)), id_)
                case 3:
                    _, folder, length = _OF_UNNAME.unpack_from(data, place)
                    place += _OF_UNNAME.size
                    yield Unname(folder, bytes(_taken(data, place, length)))
                case 4:
                    _, id_, offset, length = _OF_WRITE.unpack_from(data, place)
                    place += _OF_WRITE.size
                    yield Write(id_, offset, _taken(data, place, length))
                case 5:
                    _, id_, size = _OF_RESIZE.unpack_from(data, place)
                    place, length = place + _OF_RESIZE.size, 0
                    yield Resize(id_, size)
                case 6:
                    _, id_, offset, many = _OF_ZEROS.unpack_from(data, place)
                    place, length = place + _OF_ZEROS.size, 0
                    yield Zeros(id_, offset, many)
                case other:
                    raise SealBroken(f"the journal has an operation of the unknown kind {other}")
            place += length
    except (struct.error, UnicodeDecodeError) as error:
        raise SealBroken("the journal has an operation that is cut off") from error


def _taken(data: memoryview, place: int, length: int) -> memoryview:
    found = data[place : place + length]
    if len(found) != length:
        raise SealBroken("the journal has an operation that is cut off")
    return found
