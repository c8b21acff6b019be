"""A policy for hardware and a CAS that is a simulation, tried from outside with curl as users of real policies do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .black_box import Answer, Client, OutsideCas, channel_hash

MEASUREMENT = "ab" * 32
SERVICE = f"services: [{{name: app, command: app, pwd: /, attestation: [{{mrenclave: [{MEASUREMENT}]}}]}}]\n"


def attested(cas: OutsideCas, client: Client, session: str) -> Answer:
    """Do what a launcher does, with the certificate of `client`."""
    report = {"toolchain": "sim", "measurement": MEASUREMENT, "debug": False, "report_data": channel_hash(client)}
    quote: Any = cas.curl("/v1/sim/quote", body=json.dumps({"report": report})).json()["quote"]
    return cas.curl("/v1/sim/attest", client=client, body=json.dumps({"config_id": f"{session}/app", "quote": quote}))


def test_hardware_is_believed_only_where_somebody_said_so(tmp_path: Path) -> None:
    cas, owner = OutsideCas(tmp_path), Client.new(tmp_path, "owner")
    hardware = f'name: real\nversion: "0.3.11"\n{SERVICE}'
    cas.env |= {"SCONECTL_HARDWARE_POLICIES": "accept", "SCONE_MODE": "sim"}  # no variable gives the permission
    cas.start()
    refused = cas.curl("/v1/sessions", client=owner, body=hardware)
    assert refused.status == 400
    said = "\n".join(refused.problem())
    assert "security: {attestation: {mode: simulation}}" in said and "cas serve --hardware-policies accept" in said
    assert b"accepts" not in cas.command("cas", "status", "--dir", cas.directory)

    simulated = hardware.replace("services", "security: {attestation: {mode: simulation}}\nservices").replace(
        "real", "s"
    )
    cas.upload(owner, simulated)  # what the refusal said
    assert attested(cas, owner, "s").status == 200

    option = ("cas", "serve", "--dir", cas.directory, "--detach", "--listen", "127.0.0.1:0", "--hardware-policies")
    assert b"" == cas.command(*option, "accept", code=2)  # it runs, and would not notice
    cas.stop()
    cas.command(*option, "accept")
    cas.stop()
    cas.start()  # it is remembered
    assert b"accepts policies for hardware" in cas.command("cas", "status", "--dir", cas.directory)
    accepted = cas.curl("/v1/sessions", client=owner, body=hardware)
    assert accepted.status == 201
    assert any("no hardware protects it" in warning for warning in accepted.json()["warnings"])
    assert attested(cas, owner, "real").status == 200

    cas.stop()
    cas.command(*option, "refuse")
    cas.stop()
    cas.start()
    try:
        late = attested(cas, owner, "real")  # stored while it was allowed
        assert late.status == 403 and any("is for hardware" in cause for cause in late.problem())
        assert attested(cas, owner, "s").status == 200
    finally:
        cas.stop()
