"""Templates in the language Tera, as upstream's folders of chart templates have them.

In: a template and a lookup of names. Out: YAML text in which each value stands as `{{name}}`, and a lookup that knows
these names, too: so no value changes the structure of the text. Raises `InvalidInput`.

Tera and Jinja share their syntax, so jinja2 reads them, in its sandbox; the filters and tests that differ are here.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jinja2 import TemplateRuntimeError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from sconectl.errors import InvalidInput
from sconectl.text.findings import Finding, Position

Lookup = Callable[[str], str | None]
"""Gives the value behind a name, or None."""
_VALUE = "sconectl_value_"
_PLACE = re.compile(rf"\{{\{{{_VALUE}[0-9]+\}}\}}")
_NO_VALUE = "(set, filter, macro) cannot be a value, or be changed: values are filled in later"
_NAME = re.compile(r"\{\{\s*([A-Za-z_][\w.-]*)\s*\}\}")
_HINT = "write it in the part of Tera that Jinja shares: names, if, for, set, raw, and filters"


class _Missing(Undefined):
    """A name without a value: false in a condition, a fault wherever its text is needed."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint or self._undefined_obj is missing:
            return super()._undefined_message
        return "the value has no such key or attribute"  # which can be a value itself

    def __str__(self) -> str:
        return str(self._fail_with_undefined_error())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._fail_with_undefined_error())


def _missing_in(lookup: Lookup) -> type[_Missing]:
    class Missing(_Missing):
        """A name without a value, which may be the beginning of one with dots."""

        __slots__ = ()

        def __getattr__(self, name: str) -> Any:
            if name.startswith("_") or self._undefined_obj is not missing or self._undefined_name is None:
                return super().__getattr__(name)
            whole = f"{self._undefined_name}.{name}"
            found = lookup(whole)
            return Missing(name=whole) if found is None else found

    return Missing


class _Refused(TemplateRuntimeError):
    """What a template of ours may not do. Its text has no value in it."""


class _Later(str):
    """The text of a default in which names stand: upstream fills it in when the mesh is compiled."""

    __slots__ = ()


def _default(found: Any, value: Any) -> Any:
    if not isinstance(found, Undefined):
        return found
    return _Later(value) if isinstance(value, str) and _NAME.search(value) else value


def _slugify(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _truncate(text: str, length: int = 255, end: str = "…") -> str:
    return text if len(text) <= length else text[:length] + end


def _indent(text: str, prefix: str = "    ", first: bool = False, blank: bool = False) -> str:
    lines = text.split("\n")
    return "\n".join(
        prefix + line if (number or first) and (line or blank) else line for number, line in enumerate(lines)
    )


def _get(found: Mapping[str, Any], key: str, default: Any = None) -> Any:
    return found.get(key, default)


def _json_encode(value: Any, pretty: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2 if pretty else None)


_FILTERS: dict[str, Callable[..., Any]] = {
    "addslashes": lambda text: re.sub(r"([\\\"'])", r"\\\1", text),
    "as_str": str,
    "concat": lambda found, **more: [*found, *(more["with"] if isinstance(more["with"], list) else [more["with"]])],
    "default": _default,
    "get": _get,
    "indent": _indent,
    "join": lambda found, sep="": sep.join(map(_text, found)),
    "json_encode": _json_encode,
    "nth": lambda found, n: found[n],
    "replace": lambda text, **given: text.replace(given["from"], given["to"]),
    "slice": lambda found, start=None, end=None: found[start:end],
    "slugify": _slugify,
    "split": lambda text, pat: text.split(pat),
    "trim_end": str.rstrip,
    "trim_end_matches": lambda text, pat: _without(text, pat, at_end=True),
    "trim_start": str.lstrip,
    "trim_start_matches": lambda text, pat: _without(text, pat, at_end=False),
    "truncate": _truncate,
    "urlencode": lambda text: urllib.parse.quote(text, safe="/"),
    "urlencode_strict": lambda text: urllib.parse.quote(text, safe=""),
}
_TESTS: dict[str, Callable[..., bool]] = {
    "containing": lambda found, pat: pat in found,
    "ending_with": lambda text, pat: text.endswith(pat),
    "matching": lambda text, pat: re.search(pat, text) is not None,
    "starting_with": lambda text, pat: text.startswith(pat),
}


def _without(text: str, pattern: str, *, at_end: bool) -> str:
    while pattern and (text.endswith(pattern) if at_end else text.startswith(pattern)):
        text = text[: -len(pattern)] if at_end else text[len(pattern) :]
    return text


def _text(value: Any) -> str:
    """Return a value as Tera writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value) if isinstance(value, str | int | float) else _json_encode(value)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Knows the operators of Tera only: others make a few characters a text that no memory holds."""

    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise _Refused("there is * for numbers, and no **")
        return super().call_binop(context, operator, left, right)


class Tera:
    """Fills in templates; `values` are those that stand in the texts as names."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._values: dict[str, str] = {}
        self._environment = _Sandbox(
            undefined=_missing_in(lookup),
            finalize=self._kept,
            autoescape=False,  # values are put into the YAML tree, never into its text
            keep_trailing_newline=True,
        )
        self._environment.context_class = _names_of(lookup)
        self._environment.globals.clear()
        self._environment.filters.update(_FILTERS)
        self._environment.tests.update(_TESTS)

    def fill_in(self, raw: bytes, file: str) -> bytes:
        """Return what a template gives, with names in the place of values."""
        try:
            template = self._environment.parse(raw.decode("utf-8-sig"))
            if (block := template.find(nodes.FilterBlock)) is not None:
                raise _fault(file, block.lineno, f"the text of a block {_NO_VALUE}")
            return self._environment.from_string(template).render().encode()
        except InvalidInput:
            raise
        except TemplateSyntaxError as error:
            raise _fault(file, error.lineno, f"this is no template: {error.message}") from error
        except UnicodeDecodeError as error:
            raise _fault(
                file, raw[: error.start].count(b"\n") + 1, "the file is not UTF-8 text", "save it as UTF-8"
            ) from error
        except Exception as error:  # a template can fail in as many ways as Python
            raise _fault(file, _line(error), f"the template fails: {_said(error)}") from None

    def lookup(self, name: str) -> str | None:
        """Return the value behind a name in such a text, or None."""
        return self._values[name] if name in self._values else self._lookup(name)

    def _kept(self, value: Any) -> str:
        if isinstance(value, Undefined):
            if value._undefined_obj is not missing or value._undefined_name is None:
                return str(value)  # which fails: not a name is lacking, but perhaps a key that is a value
            return f"{{{{{value._undefined_name}}}}}"  # reported where it stands
        if isinstance(value, _Later):
            values = {name: self._lookup(name) for name in _NAME.findall(value)}
            if lacking := next((name for name, text in values.items() if text is None), ""):
                return f"{{{{{lacking}}}}}"  # this, too
            value = _NAME.sub(lambda match: values[match[1]] or "", value)
        if _PLACE.search(text := _text(value)):
            raise _Refused(f"the text of a block {_NO_VALUE}")
        name = f"{_VALUE}{len(self._values)}"
        self._values[name] = text
        return f"{{{{{name}}}}}"


def _names_of(lookup: Lookup) -> type[Context]:
    class Names(Context):
        """The names of a template: its own, else those of the lookup."""

        def resolve_or_missing(self, key: str) -> Any:
            found = super().resolve_or_missing(key)
            given = lookup(key) if found is missing else None
            return found if given is None else given

    return Names


def _said(error: Exception) -> str:
    """Return what is wrong, without the text of errors that may have a value in it."""
    if isinstance(error, SecurityError):
        return "it is unsafe to read that attribute"
    if isinstance(error, _Refused | UndefinedError | TypeError | AttributeError | ArithmeticError):
        return str(error)
    return type(error).__name__


def _line(error: BaseException) -> int:
    """Return the line of a template in which it failed."""
    found, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            found = trace.tb_lineno
        trace = trace.tb_next
    return found


def _fault(file: str, line: int, message: str, hint: str = _HINT) -> InvalidInput:
    return InvalidInput([Finding("error", "SC2016", Position(file, line, 1), "", message, hint)])
