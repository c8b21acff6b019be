"""Hints for refusals of an image registry, and for a full disk.

In: an HTTP status, or the words of the container engine (it passes on a registry's answer as text). Out: a hint.
"""

from __future__ import annotations

import re

_FULL = "the engine's disk is full: remove what is not needed (`docker system df` shows what takes space)"
_TEXTS = (
    (r"no basic auth credentials|unauthorized|authentication required|\b401\b", 401),
    (r"denied|forbidden|\b403\b", 403),
    (r"too large|\b413\b", 413),
    (r"toomanyrequests|too many requests|\b429\b", 429),
    (r"\b5\d\d\b|internal server error|bad gateway|service unavailable", 500),
    (r"connection refused|connection reset|broken pipe|EOF|no such host|dial tcp|timeout|deadline", 0),
)


def hint_for(text: str, registry: str = "") -> str:
    """Return the hint for a failure that the engine reports with these words, or nothing.

    `registry` is the registry that it talked to, if any.
    """
    if "no space left on device" in text:
        return _FULL
    for pattern, status in _TEXTS if registry else ():
        if re.search(pattern, text, re.IGNORECASE):
            return hint_for_status(status, registry)
    return ""


def hint_for_status(status: int, registry: str) -> str:
    """Return the hint for an HTTP status, or nothing; 0 stands for no answer."""
    if status >= 500:
        return f"{registry} has a problem of its own: try again later, or ask who runs it"
    return {
        0: f"does {registry} run, and can the engine reach it? A proxy or firewall between them may cut it off",
        401: f"`docker login {registry}`",
        403: f"the account of `docker login {registry}` has no right to do this: use another, or ask for the right",
        413: f"{registry} or a proxy before it limits the size of an upload: raise it, or make the image smaller",
        429: f"{registry} limits how often it is asked: wait and try again, or `docker login {registry}`",
    }.get(status, "")
