"""Older spellings of a manifest, brought into the present form: what was valid once stays valid.

In: a document. Out: one with the present form, whose positions still lead to where everything is written, and a
deprecation finding for each older spelling that shows the new one. Whatever is no older spelling stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from sconectl.manifest.model.faults import Unfit
from sconectl.manifest.reading.helm_set import assignments, merge
from sconectl.text.findings import Finding
from sconectl.text.yaml_tree import Document, Path

_OLD_JAVA = re.compile(r"java (8|15|17|21)\Z")


def modernise(document: Document) -> tuple[Document, list[Finding]]:
    """Return the document in the present form, and what there is to say about its spelling."""
    if not isinstance(document.value, dict):
        return document, []
    rewriter = _Rewriter(document, document.value)
    if rewriter.value.get("kind") == "mesh":
        rewriter.mesh()
    else:
        rewriter.service()
    if not rewriter.findings:
        return document, []
    moved = rewriter.moved
    back = {old: new for new, old in moved.items()}
    changed = replace(
        document,
        value=rewriter.value,
        positions=_Moved(document.positions, moved, back),
        key_positions=_Moved(document.key_positions, moved, back),
        quoted=_Moved(document.quoted, moved, back, dict.fromkeys(rewriter.plain, False)),
    )
    return changed, rewriter.findings


class _Moved(Mapping[Path, Any]):
    """A mapping by path in which parts of the document were moved; `fixed` values come before those of `base`."""

    def __init__(
        self,
        base: Mapping[Path, Any],
        moved: Mapping[Path, Path],
        back: Mapping[Path, Path],
        fixed: Mapping[Path, Any] | None = None,
    ) -> None:
        self._base, self._moved, self._back, self._fixed = base, moved, back, fixed or {}

    def __getitem__(self, path: Path) -> Any:
        return self._fixed[path] if path in self._fixed else self._base[_led(path, self._moved)]

    def __iter__(self) -> Iterator[Path]:
        return (_led(path, self._back) for path in self._base)

    def __len__(self) -> int:
        return len(self._base)


def _led(path: Path, ways: Mapping[Path, Path]) -> Path:
    """Return `path` with its longest beginning that is in `ways` replaced by the path there."""
    for length in range(len(path), 0, -1):
        if path[:length] in ways:
            return ways[path[:length]] + path[length:]
    return path


class _Rewriter:
    """One pass over a manifest; `moved` leads from each new path to the one in the text."""

    def __init__(self, document: Document, value: dict[str, Any]) -> None:
        self.document = document
        self.value = dict(value)
        self.moved: dict[Path, Path] = {}
        self.plain: set[Path] = set()
        self.findings: list[Finding] = []

    def say(self, path: Path, message: str, hint: str) -> None:
        """Remark on the key at `path`, or on its value if that is what is older."""
        at_key = path[-1] != "kind"
        self.findings.append(self.document.finding("deprecation", "SC1012", path, message, hint, at_key=at_key))

    def service(self) -> None:
        """Rewrite a service manifest."""
        if self.value.get("kind") == "genAppImage":
            self.value["kind"] = "genservice"
            self.say(("kind",), "genAppImage is the older name of genservice", "write `kind: genservice`")
        if isinstance(self.value.get("build"), dict):
            self.value["build"] = self.build(dict(self.value["build"]))
        if isinstance(self.value.get("env"), list) and not self._has_local():
            self.value["environment"] = {**(self.value.get("environment") or {}), "local": self.value.pop("env")}
            self.moved[("environment", "local")] = ("env",)
            if ("environment",) not in self.document.positions:
                self.moved[("environment",)] = ("env",)
            hint = "write `environment:`, below it `local:`, and there each variable as `- name: …` with `value: …`"
            self.say(("env",), "variables of a service stand in environment.local", hint)
        environment = self.value.get("environment")
        if isinstance(environment, dict):
            self.value["environment"] = {
                section: self.named(entries, ("environment", section)) for section, entries in environment.items()
            }

    def _has_local(self) -> bool:
        environment = self.value.get("environment")
        return environment is not None and (not isinstance(environment, dict) or "local" in environment)

    def build(self, build: dict[str, Any]) -> dict[str, Any]:
        """Return the section `build` with the fields that older manifests have elsewhere, or under another name."""
        if "requirements" in self.value and "requirements" not in build:
            build["requirements"] = self.value.pop("requirements")
            self.moved[("build", "requirements")] = ("requirements",)
            self.say(("requirements",), "this field belongs to build", "write `requirements:` below `build:`")
        if "host_path" in build and "host_paths" not in build:
            build["host_paths"] = build.pop("host_path")
            self.moved[("build", "host_paths")] = ("build", "host_path")
            self.say(("build", "host_path"), "host_path is a misspelt host_paths", "write `host_paths:`")
        for ignored in ("binarfs.include-new", "binarfs"):
            if ignored in build and (ignored != "binarfs" or _is_only(build[ignored], "include-new")):
                del build[ignored]
                message = "this field has no effect any more: all files are protected"
                self.say(("build", ignored), message, "remove it")
        kind = build.get("kind")
        if isinstance(kind, str) and _OLD_JAVA.match(kind):
            build["kind"] = kind.replace(" ", "")
            path: Path = ("build", "kind")
            hint = f"write `kind: {build['kind']}`"
            self.say(path, "the name of this kind is written without a blank", hint)
        return build

    def mesh(self) -> None:
        """Rewrite a mesh manifest."""
        if isinstance(self.value.get("env"), list):
            self.value["env"] = self.sections(self.value["env"])
        if isinstance(self.value.get("helm"), list) and "helm_extra_values" not in self.value:
            self.helm(self.value.pop("helm"))
        repo = self.value.get("repo")
        if isinstance(repo, dict) and "signature" in repo and "key_file" not in repo:
            self.value["repo"] = {("key_file" if key == "signature" else key): item for key, item in repo.items()}
            self.moved[("repo", "key_file")] = ("repo", "signature")
            self.say(("repo", "signature"), "signature is an older name of key_file", "write `key_file:`")

    def sections(self, entries: list[Any]) -> list[Any]:
        """Return `env` as sections: variables that stand in none are for all services."""
        sections: list[Any] = []
        loose: list[Any] = []
        found: list[int] = []
        for number, entry in enumerate(entries):
            if isinstance(entry, dict) and "service" not in entry and ("name" in entry or "key" in entry):
                if not loose:
                    self.moved[("env", len(sections))] = ("env", number)
                    sections.append({"service": "global", "env": loose})
                self.moved[("env", len(sections) - 1, "env", len(loose))] = ("env", number)
                loose.append(entry)
                found.append(number)
                continue
            loose = []
            self.moved[("env", len(sections))] = ("env", number)
            sections.append(dict(entry) if isinstance(entry, dict) else entry)
        if found:
            hint = "write `- service: global`, below it `env:`, and there each variable as `- name: …` with `value: …`"
            message = f"variables of a mesh stand in sections{_more(len(found))}"
            self.say(("env", found[0]), message, hint)
        for number, section in enumerate(sections):
            if isinstance(section, dict) and "env" in section:
                section["env"] = self.named(section["env"], ("env", number, "env"))
        return sections

    def named(self, entries: Any, path: Path) -> Any:
        """Return a list of variables in which each has a `name`; `key` is what it was called once."""
        if not isinstance(entries, list):
            return entries
        old = dict.fromkeys(number for number, entry in enumerate(entries) if _is_keyed(entry))
        for number in old:
            place = (*path, number)
            self.moved[(*place, "name")] = (*_led(place, self.moved), "key")
        if old:
            first = self.moved[(*path, next(iter(old)), "name")]
            self.say(first, f"key is the older spelling of name{_more(len(old))}", "write `name:` instead of `key:`")
        return [
            {("name" if key == "key" else key): item for key, item in entry.items()} if number in old else entry
            for number, entry in enumerate(entries)
        ]

    def helm(self, entries: list[Any]) -> None:
        """Bring what was given in the manner of `helm --set` into `helm_extra_values`."""
        values: dict[str, Any] = {}
        self.moved[("helm_extra_values",)] = ("helm",)
        for number, entry in enumerate(entries):
            try:
                for place, text in assignments(entry):
                    merge(values, place, text)
                    self.moved[("helm_extra_values", *place)] = ("helm", number)
                    self.plain.add(("helm_extra_values", *place))
            except Unfit as error:
                where: Path = ("helm", number)
                self.findings.append(self.document.finding("error", "SC1002", where, error.message, error.hint))
        self.value["helm_extra_values"] = values
        message = "values of charts stand in helm_extra_values, as a mapping"
        self.say(("helm",), message, "write `helm_extra_values:`, below it `SERVICE:`, and there its values")


def _is_only(value: Any, key: str) -> bool:
    return isinstance(value, dict) and set(value) == {key}


def _is_keyed(entry: Any) -> bool:
    return isinstance(entry, dict) and "key" in entry and "name" not in entry


def _more(count: int) -> str:
    return f" (here and in {count - 1} more)" if count > 1 else ""
