"""`$NAME` in a session file: filled in before it is read, and written `$$NAME` where it is a text.

In: the text of one value. Out: the text with values in their places, or its spelling in a file. Of several `$`
in front of a name, the first is taken away. `${NAME}` is no variable here, and `$$SCONE::…$$` is for the CAS.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sconectl.text.secret_placeholders import SPELT

_FORM = re.compile(rf"\$*{SPELT}(?:\$\$)?|\$(?P<escaped>\$+(?=[A-Za-z_]))|\$\$+|\$(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


def fill_in(text: str, value: Callable[[str], str | None]) -> str:
    """Return a text with its variables filled in; a variable for which `value` gives None stays as it is."""

    def replacement(match: re.Match[str]) -> str:
        if match["escaped"]:
            return match["escaped"]
        found = value(match["name"]) if match["name"] else None
        return match[0] if found is None else found

    return _FORM.sub(replacement, text) if "$" in text else text


def escape(text: str) -> str:
    """Return the spelling in a session file that is read as `text`."""
    if "$" not in text:
        return text
    return _FORM.sub(lambda match: f"${match[0]}" if match["escaped"] or match["name"] else match[0], text)
