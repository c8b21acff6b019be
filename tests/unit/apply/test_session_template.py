"""Templates of sessions get the text of the native image as the generated session says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fakes.builders import MEASUREMENT, SIM, compiled, service_plan, service_text, session

from sconectl.apply.session_template import SessionTemplate
from sconectl.manifest.model.fields import CommandLine
from sconectl.plan.service.service import image_facts
from sconectl.policy.reading import parse_session
from sconectl.text.yaml_text import dump

TEMPLATE = """\
name: $NAMESPACE/$SESSION
version: "0.3"
services:
   - name: service
     image_name: image
     attestation: [{mrenclave: [$MRENCLAVE]}]
     command: $CMD
     environment:
$ENVVARS
images:
   - name: image
"""


def filled(variables: Mapping[str, str], host: tuple[str, ...] = ()) -> Mapping[str, Any]:
    plan = replace(service_plan(service_text()), command=CommandLine("program"), literal_command=True)
    facts = image_facts(
        plan,
        measurement=MEASUREMENT,
        root="cd" * 32,
        outside=(),
        fspf=None,
        image_environment=variables,
        host_names=host,
        salt="",
    )
    found = SessionTemplate("template", TEMPLATE).after_build(session(compiled(facts), "web"), SIM)
    parse_session(dump(found))
    return found


def test_text_of_the_image_is_no_template_and_no_placeholder() -> None:
    found = filled({"A": "{{namespace}} $CMD ${MRENCLAVE}", "B": "$$SCONE::x$$", "key: odd": "yes"})
    environment = found["services"][0]["environment"]
    assert environment["A"] == "{{namespace}} $CMD ${MRENCLAVE}"
    assert environment["B"] == "$$SCONE::sconectl-literal-dollars$$SCONE::x$$"
    assert environment["key: odd"] == "yes"
    assert found["secrets"] == [{"name": "sconectl-literal-dollars", "kind": "ascii", "value": "$$"}]


def test_the_version_is_one_that_has_the_variables_of_the_container() -> None:
    assert filled({"A": "plain"})["version"] == "0.3"
    found = filled({"A": "plain"}, ("HOSTNAME",))
    assert found["version"] == "0.3.8"
    assert found["services"][0]["environment"]["\\@\\@HOSTNAME"] == ""
