"""The names of `{{…}}` for one service. A name has one value, which is filled in completely before it is used anywhere.

In: values in which names may stand again, and built-in names, which win over them and are text. Out: the text behind a
name, and faults of the values that were asked for. What has been filled in is not looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sconectl.manifest.spelling.placeholders import bind_mesh, expressions

MOST = 1 << 20
"""How many characters names may bring into one value."""


@dataclass(frozen=True)
class ValueFault:
    """What is wrong with the value of `variable`.

    It uses the name `missing`, which has no value, or leads back to itself by way of `circle`, or else gets too long.
    """

    variable: str
    missing: str = ""
    circle: tuple[str, ...] = ()


class Names:
    """Looks up names; `faults` are those of the values that were looked up so far."""

    def __init__(self, values: Mapping[str, str], builtin: Mapping[str, str]) -> None:
        self._values = values
        self._builtin = builtin
        self._filled: dict[str, str] = {}
        self.faults: list[ValueFault] = []

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._builtin, *self._values)))

    def text(self, name: str) -> str | None:
        """Return what `{{name}}` stands for."""
        found = self._builtin.get(name)
        return self.value(name) if found is None else found

    def value(self, name: str) -> str | None:
        """Return the value of a variable, whether or not a built-in name hides it; None if it has none."""
        written = self._values.get(name)
        if written is None or "{" not in written:
            return written
        if name not in self._filled:
            self._fill(name)
        return self._filled[name]

    def _fill(self, wanted: str) -> None:
        """Fill in a value, after those that it uses: in a loop, for there may be any number of steps."""
        waiting = [wanted]
        begun: dict[str, None] = {}  # the way from the wanted name to this one
        while waiting:
            name = waiting[-1]
            if name not in self._filled and name not in begun:
                needed = [used for used in self._needed(self._values[name]) if used not in self._filled]
                begun[name] = None
                for used in needed:
                    if used in begun:
                        way = list(begun)
                        self.faults.append(ValueFault(used, circle=(*way[way.index(used) :], used)))
                waiting += [used for used in reversed(needed) if used not in begun]
                if waiting[-1] != name:
                    continue
            if name not in self._filled:
                self._filled[name] = self._bound(name)
            begun.pop(name, None)
            waiting.pop()

    def _needed(self, text: str) -> Iterator[str]:
        """Yield the names in a text whose values have to be filled in before."""
        for expression in expressions(text):
            written = self._values.get(expression.name)
            if expression.name in self._builtin:
                continue
            if written is not None:
                if "{" in written:
                    yield expression.name
            elif expression.default:
                yield from self._needed(expression.default)

    def _bound(self, name: str) -> str:
        left = MOST

        def lookup(used: str) -> str | None:
            nonlocal left
            text = self._builtin.get(used)
            if text is None and used in self._values:
                written = self._values[used]
                text = self._filled.get(used, f"{{{{{used}}}}}") if "{" in written else written
            left -= len(text or "")
            return text if left >= 0 else ""

        text, missing = bind_mesh(self._values[name], lookup)
        self.faults += [ValueFault(name, missing=used) for used in dict.fromkeys(missing)]
        if left < 0:
            self.faults.append(ValueFault(name))
        return text
