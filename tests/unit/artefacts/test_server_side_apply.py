"""Server-side apply of a changed chart gives the same objects as installing it anew.

The merge is that of Kubernetes (structured-merge-diff): whoever applies owns the fields that he gives; what he no
longer gives goes, with all that is in it; and what the API server has put in beside it stays. Which lists are merged,
and by what, is in the schemas. So a field with a default that the chart gives only sometimes would stay when it should
go.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest

from sconectl.artefacts.manifests import manifest_files
from sconectl.plan.mesh.chart_plan import ChartPlan

from .test_cluster_standards import NOT_OF_KUBERNETES, OLDEST_AND_NEWEST, SCHEMAS
from .test_manifests import CASES, objects

Path = tuple[str, ...]
Fields = dict[Path, Any]
"""The fields of an object; items of merged lists are called after their keys."""

HANDLERS = ("exec", "grpc", "httpGet", "tcpSocket")
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_PROBE = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}


@cache
def definitions() -> Mapping[str, Any]:
    found = json.loads((SCHEMAS / f"v{OLDEST_AND_NEWEST[-1]}-local" / "_definitions.json").read_text())
    return dict(found["$defs"])


@cache
def schema_of(api_version: str, kind: str) -> Mapping[str, Any]:
    group, _, version = api_version.rpartition("/")
    for schema in definitions().values():
        for each in schema.get("x-kubernetes-group-version-kind", ()):
            if (each["group"], each["version"], each["kind"]) == (group, version, kind):
                return dict(schema)
    raise AssertionError(f"{api_version} {kind}")


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema or "allOf" in schema:
        reference = schema.get("$ref") or schema["allOf"][0]["$ref"]
        rest = {key: item for key, item in schema.items() if key not in ("$ref", "allOf")}
        schema = {**definitions()[reference.rpartition("/")[2]], **rest}
    return schema


def fields(schema: Mapping[str, Any], value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield the fields of an object, as far as they are merged one by one."""
    schema = resolved(schema)
    if isinstance(value, dict) and value and schema.get("x-kubernetes-map-type") != "atomic":
        for key, item in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            yield from fields(below if isinstance(below, dict) else {}, item, (*path, key))
    elif isinstance(value, list) and schema.get("x-kubernetes-list-type") == "map":
        for item in value:
            keys = (f"{key}={item.get(key)}" for key in schema["x-kubernetes-list-map-keys"])
            yield from fields(schema["items"], item, (*path, ",".join(keys)))
    else:
        yield path, value


def given(item: Mapping[str, Any]) -> Fields:
    """Return the fields that are given; none is given twice."""
    found = list(fields(schema_of(item["apiVersion"], item["kind"]), item))
    assert len(dict(found)) == len(found), "a key of a merged list is there twice"
    return dict(found)


def with_defaults(kind: str, live: Fields) -> Fields:
    """Return an object as the API server keeps it, with what it puts in where nothing is."""
    found = dict(live)

    def put(path: Path, value: Any) -> None:
        if path not in found:
            found[path] = value

    strategies = {"Deployment": "strategy", "StatefulSet": "updateStrategy", "DaemonSet": "updateStrategy"}
    if name := strategies.get(kind):
        put(("spec", name, "type"), "RollingUpdate")
        if found["spec", name, "type"] == "RollingUpdate":
            values: dict[str, Any] = {"partition": 0} if kind == "StatefulSet" else {"maxSurge": 1, "maxUnavailable": 1}
            for key, value in values.items():
                put(("spec", name, "rollingUpdate", key), value)
    if kind == "Service":
        put(("spec", "sessionAffinity"), "None")
        put(("spec", "type"), "ClusterIP")
    for path in list(live):
        for number, part in enumerate(path):
            if part in PROBES:
                for key, value in _PROBE.items():
                    put((*path[: number + 1], key), value)
                if path[number + 1 : number + 2] == ("httpGet",):
                    put((*path[: number + 1], "httpGet", "scheme"), "HTTP")
    return found


def members(owned: Fields) -> set[Path]:
    """Return the fields, and what they are in."""
    return {path[:end] for path in owned for end in range(1, len(path) + 1)}


def applied(kind: str, live: Fields, before: Fields, after: Fields) -> Fields:
    """Return the live object after somebody who gave the fields `before` gives those `after`."""
    gone = members(before) - members(after)
    kept = {
        path: value for path, value in live.items() if not any(path[:end] in gone for end in range(1, len(path) + 1))
    }
    for path in after:  # a part that is a whole now, or has become parts
        kept = {old: value for old, value in kept.items() if old == path or path[: len(old)] != old}
    return with_defaults(kind, {**kept, **after})


def installed(name: str) -> dict[tuple[str, str], dict[str, Any]]:
    [text] = manifest_files(ChartPlan("shop", "0.1.0", (CASES[name],)), "demo", {}).values()
    return {key: item for key, item in objects(text.decode()).items() if key[0] not in NOT_OF_KUBERNETES}


@cache
def all_given() -> dict[tuple[str, str], dict[str, Fields]]:
    """Return the fields of every object, in all the cases that have one of its kind and name."""
    found: dict[tuple[str, str], dict[str, Fields]] = {}
    for name in CASES:
        for key, item in installed(name).items():
            found.setdefault(key, {})[name] = given(item)
    return found


def left_over(kind: str, before: Fields, after: Fields) -> set[Path]:
    """Return what is other than it would be without the earlier version."""
    live = applied(kind, with_defaults(kind, before), before, after)
    fresh = with_defaults(kind, after)
    return {path for path in live.keys() | fresh.keys() if live.get(path) != fresh.get(path)}


@pytest.mark.parametrize("key", list(all_given()), ids=lambda key: "-".join(key)[:50])
def test_what_was_there_before_makes_no_difference(key: tuple[str, str]) -> None:
    wrong = {}
    for before, after in itertools.permutations(all_given()[key], 2):
        if left := left_over(key[0], all_given()[key][before], all_given()[key][after]):
            wrong[before, after] = left
    assert wrong == {}


def test_the_merge_sees_what_stays() -> None:
    whole = given(installed("simple")["Deployment", "demo-web"])
    partial = {path: value for path, value in whole.items() if path[:2] != ("spec", "strategy")}
    recreate = {**partial, ("spec", "strategy", "type"): "Recreate"}
    assert {path[2] for path in left_over("Deployment", partial, recreate)} == {"rollingUpdate"}
    assert left_over("Deployment", whole, recreate) == set()


def test_keys_that_are_there_twice_are_seen() -> None:
    item = installed("simple")["Deployment", "demo-web"]
    env = item["spec"]["template"]["spec"]["containers"][0]["env"]
    env.append(dict(env[0]))
    with pytest.raises(AssertionError, match="twice"):
        given(item)
