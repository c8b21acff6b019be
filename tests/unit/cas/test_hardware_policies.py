"""A policy for hardware in a CAS that is a simulation: refused when it is uploaded and when a program attests."""

from __future__ import annotations

from pathlib import Path

import pytest

from sconectl.cas.attest.hardware_policies import WARNING
from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.keys.simulated_machine import load_machine
from sconectl.cas.sessions.access import Principal
from sconectl.cas.sessions.embedded import EmbeddedCas
from sconectl.policy.forms.tolerations import LOCAL_TCB

from .conftest import MEASUREMENT, session_text
from .enclave_world import World, make_keys

SERVICE = f"services: [{{name: app, command: app, pwd: /, attestation: {{mrenclave: {MEASUREMENT}}}}}]\n"
HARDWARE = {
    "implied": SERVICE,
    "explicit": "security: {attestation: {mode: hardware}}\n" + SERVICE,
    "tolerant": "security: {attestation: {tolerate: [debug-mode], ignore_advisories: '*'}}\n" + SERVICE,
    "without a section": "security: {singleton_enclaves: true}\n" + SERVICE,
    "local": f"security: {{attestation: {{must_be_sgx_local: true, tolerate: [{LOCAL_TCB}]}}}}\n{SERVICE}",
    "signer": SERVICE.replace(f"mrenclave: {MEASUREMENT}", f"signer: {{mrsigner: {MEASUREMENT}, isvprodid: 1}}"),
    "old spelling": f"services: [{{name: app, command: app, pwd: /, mrenclaves: [{MEASUREMENT}]}}]\n",
}
OTHERS = {
    "simulation": "security: {attestation: {mode: simulation}}\n" + SERVICE,
    "nothing is attested": "security: {attestation: {mode: none}}\nservices: [{name: app, command: app, pwd: /}]\n",
    "no services": "security: {attestation: {mode: hardware}}\n",
    "nothing": "",
}


@pytest.mark.parametrize("body", HARDWARE.values(), ids=HARDWARE)
def test_an_upload_is_refused(cas: EmbeddedCas, alice: Principal, body: str) -> None:
    with pytest.raises(CasRefusal) as caught:
        cas.put(session_text(body=body), alice)
    said = " ".join(caught.value.causes)
    assert caught.value.status == 400 and "mode: simulation" in said and "--hardware-policies accept" in said
    cas.put(session_text("free"), alice)


@pytest.mark.parametrize("body", HARDWARE.values(), ids=HARDWARE)
def test_whoever_runs_the_cas_may_allow_it(tmp_path: Path, alice: Principal, body: str) -> None:
    load_machine(tmp_path / "cas", accept_hardware_policies=True)
    assert WARNING in EmbeddedCas(tmp_path / "cas").put(session_text(body=body), alice).warnings


@pytest.mark.parametrize("body", OTHERS.values(), ids=OTHERS)
def test_others_are_not_concerned(cas: EmbeddedCas, alice: Principal, body: str) -> None:
    assert WARNING not in cas.put(session_text(body=body), alice).warnings


def test_a_stored_one_is_refused_when_its_service_starts(tmp_path: Path, alice: Principal) -> None:
    """A session that an older version stored, or whose mode comes from a secret."""
    world = World(make_keys(tmp_path / "keys"), tmp_path)
    world.put("security: {attestation: {mode: hardware}}\n" + SERVICE)
    [head, remedy, _] = world.refused()
    assert "is for hardware" in head and "sconectl apply" in remedy
    fragment = "secrets: [{name: f, kind: config-fragment, value: {mode: hardware}}]\n"
    world.put("security: {attestation: $$SCONE::f$$}\n" + SERVICE + fragment)
    assert "is for hardware" in world.refused()[0]
    world.restart(accept_hardware_policies=True)
    assert world.attest()


def test_no_mode_that_is_unknown_passes(cas: EmbeddedCas, alice: Principal, tmp_path: Path) -> None:
    for word in ("Simulation", "sim", "simulated", "SIMULATION", "hardware-simulation"):
        with pytest.raises(CasRefusal) as caught:
            cas.put(session_text(body=f"security: {{attestation: {{mode: {word}}}}}\n" + SERVICE), alice)
        assert "expected one of" in str(caught.value), word


def test_the_permission_is_remembered_and_taken_back(tmp_path: Path) -> None:
    first = load_machine(tmp_path)
    assert not first.accept_hardware_policies
    assert load_machine(tmp_path, accept_hardware_policies=True).id == first.id
    assert load_machine(tmp_path).accept_hardware_policies
    assert not load_machine(tmp_path, accept_hardware_policies=False).accept_hardware_policies
    assert not load_machine(tmp_path).accept_hardware_policies


def test_a_quote_does_not_tell_what_the_owner_allows(tmp_path: Path) -> None:
    world = World(make_keys(tmp_path / "keys"), tmp_path)
    world.restart(accept_hardware_policies=True)
    assert set(world.quote()["platform"]) == {"id", "issues", "advisories"}
