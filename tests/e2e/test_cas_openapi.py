"""What the CAS says about itself at /openapi.json holds under generated requests, and none of them brings it down."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .black_box import Client, OutsideCas

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = os.environ.get("SCONECTL_TEST_EXAMPLES", "12")
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip


def test_generated_requests(tmp_path: Path) -> None:
    cas = OutsideCas(tmp_path)
    cas.start()
    client = Client.new(tmp_path, "client")
    both = tmp_path / "client.pem"
    both.write_bytes(client.key.read_bytes() + client.certificate.read_bytes())
    try:
        command = [SCHEMATHESIS, "run", f"https://{cas.address}/openapi.json", "--tls-verify", cas.chain]
        command += ["--request-cert", both, "-n", EXAMPLES, "--checks", ",".join(CHECKS), "--seed", "7", "--no-color"]
        done = subprocess.run(
            [str(part) for part in command], cwd=tmp_path, capture_output=True, text=True, timeout=1800, check=False
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert cas.curl("/health").status == 200
        log = (cas.directory / "server.log").read_text(errors="replace")
        assert "Traceback" not in log, log[-4000:]
    finally:
        cas.stop()
