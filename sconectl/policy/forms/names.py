"""Names of sessions and services, and where a relative reference leads.

In: text from a policy. Out: the checked or absolute name. Raises rule violations (N2-N4, X3).
"""

from __future__ import annotations

import re

from sconectl.policy.forms.violation import violation

ROOT = "/"
"""The namespace that all sessions without a namespace lie in (LANG §3)."""

MAX_SEGMENT = 128
MAX_NAME = 512
_SEGMENT = re.compile(r"[A-Za-z0-9_\-.~]*\Z")
_SECRET_NAME = re.compile(r"[^\s\0$:|/]{1,256}\Z")


def session_name(text: str) -> str:
    """Check the absolute name of a session (N2, N3, N4)."""
    if text == ROOT:
        return text
    if len(text) > MAX_NAME:
        raise violation("N3", f"a session name has at most {MAX_NAME} characters")
    for segment in text.split("/"):
        no_empty_segment(segment)
        segment_charset(segment)
        segment_length(segment)
    return text


def segment_charset(segment: str) -> None:
    """N2: a name consists of unreserved characters."""
    if not _SEGMENT.match(segment):
        raise violation("N2", "a name may only contain letters, digits and - _ . ~", "rename it")


def segment_length(segment: str) -> None:
    """N3: each segment has 1 to 128 characters."""
    if len(segment) > MAX_SEGMENT:
        raise violation("N3", f"each part of a name has at most {MAX_SEGMENT} characters")


def no_empty_segment(segment: str) -> None:
    """N4: no empty segment (leading, trailing or double slash) and no `.` or `..`."""
    if segment in {"", ".", ".."}:
        raise violation(
            "N4",
            "a name has no empty part and no part . or ..",
            "write absolute names without leading slash, like my-namespace/my-session",
        )


def service_name(text: str) -> str:
    """S1: the name of a service is one segment of a session name."""
    if text in {"", ".", ".."} or not _SEGMENT.match(text) or len(text) > MAX_SEGMENT:
        raise violation("S1", f"a service name has 1 to {MAX_SEGMENT} characters out of letters, digits and - _ . ~")
    return text


def secret_name(text: str) -> str:
    """Check the name of a secret: no blanks and none of the characters that structure placeholders."""
    if not _SECRET_NAME.match(text):
        raise violation("D2", "a secret name has no blanks and none of $ : | /", "rename the secret")
    return text


def resolve(reference: str, own_name: str) -> str:
    """Return the absolute name of the session that `reference` means in the session `own_name` (N2-N4).

    The session itself is the directory: `./x` is its child, `../x` its sibling, `..` its namespace, which is the
    root namespace for a session at the top level.
    """
    if not is_relative(reference):
        return session_name(reference)
    steps = [] if own_name == ROOT else own_name.split("/")
    for step in reference.split("/"):
        if step == "..":
            if not steps:
                raise violation("N4", "the relative path leads above the root namespace")
            steps.pop()
        elif step != ".":
            steps.append(step)
    return session_name("/".join(steps) or ROOT)


def is_relative(reference: str) -> bool:
    """Say whether `reference` starts with `.` or `..`."""
    return reference.split("/", 1)[0] in {".", ".."}


def parent(name: str) -> str | None:
    """Return the namespace that `name` lies in, or None at the top level."""
    return name.rpartition("/")[0] or None


def is_within(name: str, namespace: str) -> bool:
    """Say whether the session `name` is `namespace` or nested in it."""
    return namespace in (ROOT, name) or name.startswith(namespace + "/")
