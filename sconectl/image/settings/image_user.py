"""The user that a container of an image runs as, by the image's configuration and its account files.

In: the configuration and the files of an image. Out: an `ImageUser`, and which injected files are out of its reach. The
rules are those of Docker and runc.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sconectl.image.layers.layer_index import Member
from sconectl.image.layers.root_tree import RootFiles
from sconectl.image.settings.account_numbers import account_number
from sconectl.runtime.files import IN_PLACE

_MAX_FILE = 16 << 20
_ENTER = 1


@dataclass(frozen=True)
class ImageUser:
    """The numbers of a user, its group, and all groups that it is in."""

    number: int
    group: int
    groups: frozenset[int]

    def may_enter(self, directory: Member) -> bool:
        """Tell whether owner and mode let this user enter a directory without any capability."""
        if directory.uid == self.number:
            return bool(directory.mode >> 6 & _ENTER)
        return bool(directory.mode >> (3 if directory.gid in self.groups else 0) & _ENTER)


ROOT = ImageUser(0, 0, frozenset({0}))
"""The user of an image that names none."""


def why_out_of_reach(user: ImageUser, path: str, root: RootFiles) -> tuple[str, str]:
    """Return why a program of `user` without capabilities gets no file that is injected at `path`, and what helps.

    Both are empty if it gets it.
    """
    if path in IN_PLACE:
        if not user.number:
            return "", ""
        return (
            f"{path} is written where the container runtime has it, which user {user.number} of the image may not",
            "let the runtime fill it (--add-host, --dns; hostAliases and dnsConfig of a pod), or run the image as root",
        )
    folders = [posixpath.dirname(path)]
    while folders[-1] != "/":
        folders.append(posixpath.dirname(folders[-1]))
    found = (root.member(folder) for folder in reversed(folders))
    closed = next((each for each in found if each and each.kind == "d" and not user.may_enter(each)), None)
    if closed is None:
        return "", ""
    who = f"user {user.number} of the image" if user.number else "root without capabilities, as the chart starts it,"
    return (
        f"{who} may not enter {closed.path} (user {closed.uid}, group {closed.gid}, mode {closed.mode:04o})",
        f"open it while the image is made (chmod o+x {closed.path}), or start it as {closed.uid}:{closed.gid} "
        "(podSecurityContext of the chart)" + ("" if user.number else ", or with the capability DAC_OVERRIDE"),
    )


def image_user(config: Mapping[str, Any], root: RootFiles) -> ImageUser | None:
    """Return the user of an image, or None if its account files do not tell."""
    name, _, group = str(config.get("User") or "0").partition(":")
    accounts, all_groups = list(_lines(root, "/etc/passwd", 4)), list(_lines(root, "/etc/group", 4))
    account = next((line for line in accounts if name in (line[0], line[2])), None)
    number = account[2] if account else name
    main = group or (account[3] if account else "0")
    main = next((line[2] for line in all_groups if main in (line[0], line[2])), main)
    its, its_group = account_number(number), account_number(main)
    if its is None or its_group is None:
        return None
    more = () if group else (line[2] for line in all_groups if account and account[0] in line[3].split(","))
    also = (found for each in more if (found := account_number(each)) is not None)
    return ImageUser(its, its_group, frozenset({its_group, *also}))


def _lines(root: RootFiles, path: str, fields: int) -> Iterator[list[str]]:
    """Yield the fields of each account; lines with too few fields are left out."""
    real = root.resolve(path)
    found = root.member(real) if real else None
    if real is None or found is None or found.kind != "f":
        return
    for line in root.read(real, 0, _MAX_FILE).decode("utf-8", "replace").splitlines():
        parts = line.strip().split(":")
        if len(parts) >= fields:
            yield parts
