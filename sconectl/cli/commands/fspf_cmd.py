"""`sconectl fspf …`: protects directories with a file system protection file, in the shapes of upstream's `scone fspf`.

In: options of the command line. Out: upstream's lines on stdout, everything else on stderr. Raises `SconectlError`.
"""

from __future__ import annotations

import json
import posixpath
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sconectl.cli.options.key_argument import file_key
from sconectl.cli.output.console import note, result
from sconectl.cli.output.printable import shown
from sconectl.cli.session.session_access import Format, one_of
from sconectl.errors import Refused, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sconectl.toolchains.fspf_file import FspfFile

fspf_app = typer.Typer(
    no_args_is_help=True, help="Protect directories: encrypt them, or notice whether they were changed."
)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The file system protection file.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="Its key: 64 hex digits, @FILE, or - for stdin.")]
KeyOption = Annotated[
    str, typer.Option("--key", metavar="KEY", help="The key of an encrypted FILE: 64 hex digits, @FILE or -.")
]
Root = Annotated[Path | None, typer.Option(metavar="DIR", help="Where the kernel paths of regions begin.")]

_VERSION = "1"
_KEY_LENGTHS = (32, 256)  # bytes as in upstream's manual, bits as in its help


@fspf_app.command("create")
def create(
    file: File,
    version: Annotated[str, typer.Argument(metavar="VERSION", help="The format; there is only 1.")] = _VERSION,
) -> None:
    """Create an empty file system protection file."""
    from sconectl.toolchains.fspf_file import FspfFile

    if version != _VERSION:
        raise UsageError(f"there is no format {version}", hint=f"leave it out: this sconectl writes {_VERSION}")
    made = FspfFile.create(file)
    result(f"Created empty file system protection file in {shown(str(file))}. AES-GCM tag: {made.found.tag}")


@fspf_app.command("addr")
def add_region(
    file: File,
    path: Annotated[str, typer.Argument(metavar="EMBEDPOINT", help="The region: a path in the protected system.")],
    not_protected: Annotated[bool, typer.Option("--not-protected", "-n", help="Leave it as it is.")] = False,
    encrypted: Annotated[bool, typer.Option("--encrypted", "-e", help="Keep it secret, and notice changes.")] = False,
    authenticated: Annotated[bool, typer.Option("--authenticated", "-a", help="Notice changes.")] = False,
    kernel: Annotated[str, typer.Option(metavar="SRC", help="The host keeps it, at this path.")] = "",
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="It begins empty and is lost at the end.")] = False,
    chunk_length: Annotated[int, typer.Option("--chunk-length", "-c", metavar="BYTES", help="Encrypted at once.")] = 0,
    key_length: Annotated[int, typer.Option("--key-length", "-k", metavar="N", help="32 bytes (or: 256 bits).")] = 32,
    key: KeyOption = "",
) -> None:
    """Add a region. A path belongs to the region with the longest common path.

    With more than one region, that of / has to be there, and be added first.
    """
    from sconectl.protect.chunks import CHUNK
    from sconectl.protect.regions import AUTHENTICATED, ENCRYPTED, EPHEMERAL, KERNEL, NOT_PROTECTED, Region

    if not_protected + encrypted + authenticated != 1:
        raise UsageError("give one of --not-protected, --encrypted and --authenticated")
    if bool(kernel) == ephemeral:
        raise UsageError("give one of --kernel SRC and --ephemeral")
    if key_length not in _KEY_LENGTHS:
        raise UsageError(f"files have keys of 32 bytes, not {key_length}", hint="leave --key-length out")
    region = Region(
        _normal(path),
        ENCRYPTED if encrypted else AUTHENTICATED if authenticated else NOT_PROTECTED,
        EPHEMERAL if ephemeral else KERNEL,
        "" if ephemeral else _normal(kernel),
        chunk_length or CHUNK,
    )
    changed = _read(file, key).add_region(region)
    result(
        f"Added region {shown(region.path)} to file system protection file {shown(str(file))} "
        f"new AES-GCM tag: {changed.found.tag}"
    )


@fspf_app.command("addf")
def add_files(
    file: File,
    path: Annotated[str, typer.Argument(metavar="EMBEDPOINT", help="The region that they are to be in.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE_DIR", help="The files.")],
    output: Annotated[
        Path | None, typer.Argument(metavar="OUTPUT_DIR", help="For encrypted files.", show_default=False)
    ] = None,
    key: KeyOption = "",
) -> None:
    """Protect the files of a directory, in place of what the region held before.

    Encrypted contents are written to OUTPUT_DIR, which goes where --kernel of the
    region says. Files of an authenticated region stay where they are; they are
    copied if there is an OUTPUT_DIR.
    """
    changed, left_out = _read(file, key).add_files(_normal(path), source, output)
    for other in left_out:
        note(f"left out {shown(other)}, which is another region")
    result(f"Added files to file system protection file {shown(str(file))} new AES-GCM tag: {changed.found.tag}")


@fspf_app.command("encrypt")
def encrypt(file: File) -> None:
    """Encrypt the file system protection file, and print its key.

    Without the key, nobody reads the encrypted files again.
    """
    changed = _read(file, "").encrypt()
    result(
        f"Encrypted file system protection file {shown(str(file))} "
        f"AES-GCM tag: {changed.found.tag} key: {changed.key.hex()}"
    )


@fspf_app.command("show")
def show(
    file: File,
    key: Key = "",
    tag: Annotated[bool, typer.Option("--tag", "-t", help="Print the tag only.")] = False,
    output: Format = "text",
) -> None:
    """Show regions, files and tag. Shows no key.

    --tag of an encrypted FILE needs no KEY, but then nothing vouches for the tag.
    """
    one_of("--output", output, ("text", "json"))
    if tag and not key:
        result(_unverified_tag(file))
        return
    read = _read(file, key)
    if tag:
        result(read.found.tag)
    elif output == "json":
        result(json.dumps(_document(read), indent=2))
    else:
        for line in _lines(read):
            result(line)


@fspf_app.command("verify")
def verify(
    file: File,
    key: Key = "",
    tag: Annotated[str, typer.Option(metavar="TAG", help="The tag that FILE must have.")] = "",
    root: Root = None,
) -> None:
    """Check the file system protection file, and every file that it protects.

    Prints what was changed, added or is missing, and ends with exit code 7 then.
    """
    from sconectl.protect.verify import differences

    read = _read(file, key, tag)
    found = differences(read.found, root=_root(root))
    for difference in found:
        result(shown(str(difference)))
    if found:
        raise Refused(f"{file}: the files are not as they were protected", hint="do not use them; protect them again")
    count = sum(record.kind == "f" for record in read.found.files)
    result(f"{shown(str(file))}: {count} files are as they were protected, AES-GCM tag: {read.found.tag}")


@fspf_app.command("extract")
def extract(
    file: File,
    key_or_directory: Annotated[str, typer.Argument(metavar="[KEY]", help="As above; none if FILE is not encrypted.")],
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A new or empty directory.", show_default=False)] = "",
    tag: Annotated[str, typer.Option(metavar="TAG", help="The tag that FILE must have.")] = "",
    root: Root = None,
) -> None:
    """Write the plain files of all encrypted regions to a directory of yours.

    All of them, or none if one was changed. Owners and set-id bits are not restored.
    """
    key, target = (key_or_directory, directory) if directory else ("", key_or_directory)
    _read(file, key, tag).extract(Path(target), _root(root))
    note(f"the encrypted regions are in {shown(target)}")


def _read(file: Path, key: str, tag: str = "") -> FspfFile:
    from sconectl.toolchains.fspf_file import FspfFile

    if tag and not re.fullmatch(r"[0-9a-fA-F]{32}", tag):
        raise UsageError("a tag has 32 hex digits")
    return FspfFile.read(file, file_key(key) if key else b"", tag)


def _unverified_tag(file: Path) -> str:
    from sconectl.protect.chunks import SealBroken
    from sconectl.protect.fspf import is_encrypted, tag_of

    try:
        data = file.read_bytes()
        if is_encrypted(data):
            return tag_of(data)
    except FileNotFoundError as error:
        raise UsageError(f"there is no file {file}") from error
    except SealBroken as error:
        raise Refused(f"{file}: {error}") from error
    return _read(file, "").found.tag


def _root(root: Path | None) -> str:
    return "" if root is None else str(root.absolute()).rstrip("/")


def _normal(path: str) -> str:
    if not path.startswith("/"):
        raise UsageError(f"{path} is not an absolute path")
    return posixpath.normpath("/" + path.lstrip("/"))


def _document(read: FspfFile) -> dict[str, Any]:
    return {
        "format": int(_VERSION),
        "encrypted": bool(read.key),
        "tag": read.found.tag,
        "regions": [asdict(region) for region in read.found.regions.values()],
        "files": [{**file._asdict(), "mode": f"{file.mode:04o}"} for file in read.found.files],
    }


def _lines(read: FspfFile) -> Iterator[str]:
    yield f"format {_VERSION}, {'encrypted' if read.key else 'not encrypted: whoever reads it has the data key'}"
    yield f"AES-GCM tag: {read.found.tag}"
    for region in read.found.regions.values():
        where = f"{region.storage} {region.source}" if region.source else region.storage
        yield shown(f"region {region.path}: {region.protection}, {where}, chunks of {region.chunk} bytes")
    for file, region in read.found.with_regions():
        arrow = f" -> {file.target}" if file.kind == "l" else ""
        yield shown(f"{region.protection:<13} {file.kind} {file.mode:04o} {file.size:>10} {file.path}{arrow}")
