"""Sessions with secrets, without a CAS: how tests make rows and values, and check them with real programs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sconectl.cas.bounds.refusal import CasRefusal
from sconectl.cas.secrets import placeholder_formats
from sconectl.cas.secrets.session_secrets import Stored, Value, secrets_for, value_in
from sconectl.policy.reading import Secret, Session, parse_session

NOW = datetime.now(UTC)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is missing")
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="the program gpg is missing")
needs_keytool = pytest.mark.skipif(shutil.which("keytool") is None, reason="the program keytool is missing")


def session(*secrets: str, name: str = "acme") -> Session:
    """Return a session with secrets written as flow mappings without the braces."""
    lines = "".join(f"  - {{{secret}}}\n" for secret in secrets)
    return parse_session(f'name: {name}\nversion: "0.3.12"\nsecrets:\n{lines}')


def nothing_imported(secret: Secret) -> Value:
    raise CasRefusal(403, f"importing {secret.name} is not granted")


class Imports:
    """What stands behind imports in a test; changed by assignment."""

    def __init__(self, **values: Value) -> None:
        self.values = values

    def __call__(self, secret: Secret) -> Value:
        if secret.name not in self.values:
            raise CasRefusal(403, f"importing {secret.name} is not granted")
        return self.values[secret.name]


def rows(current: Session, now: datetime = NOW) -> dict[str, Stored]:
    return secrets_for(current, {}, None, nothing_imported, now)


def value(current: Session, stored: Mapping[str, Stored], name: str) -> Value:
    return value_in(current, stored, name, nothing_imported, NOW)


def text(current: Session, stored: Mapping[str, Stored], name: str, form: str) -> str:
    return placeholder_formats.write(value(current, stored, name), form).decode()


def run(*command: str | Path, given: bytes = b"") -> str:
    """Return what a program prints; fails with all of it if the program does."""
    done = subprocess.run(command, input=given, capture_output=True, check=False)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, output
    return output
