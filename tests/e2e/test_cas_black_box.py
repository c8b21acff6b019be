"""Every row of the REST interface as existing clients use it: curl and openssl, none of our code on their side."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .black_box import Client, OutsideCas, run

POLICY = "access_policy: {read: [CREATOR], update: [CREATOR], create_sessions: [CREATOR]}\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("black-box")


@pytest.fixture(scope="module")
def cas(folder: Path) -> Iterator[OutsideCas]:
    outside = OutsideCas(folder)
    outside.start()
    yield outside
    outside.stop()


@pytest.fixture(scope="module")
def owner(folder: Path) -> Client:
    return Client.new(folder, "owner")


@pytest.fixture(scope="module")
def stranger(folder: Path) -> Client:
    return Client.new(folder, "stranger", rsa=True)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return str(request.node.name).replace("[", "-").replace("]", "")[:100]


def session(name: str, rest: str = "") -> str:
    return f'name: {name}\nversion: "0.3.12"\n{POLICY}{rest}'


@pytest.mark.parametrize("path", ["/v1/sessions", "/session"])
@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "application/text", "application/json"])
def test_a_session_is_created(cas: OutsideCas, owner: Client, name: str, path: str, content_type: str) -> None:
    text = session(name.replace("/", "-"))
    if content_type == "application/json":
        text = json.dumps({"name": name.replace("/", "-"), "version": "0.3.12"})
    options = ["-H", f"Content-Type: {content_type}"] if content_type else []
    answer = cas.curl(path, client=owner, body=text, options=options)
    assert answer.status == 201
    assert answer.content_type.startswith("application/json")
    assert len(bytes.fromhex(answer.json()["hash"])) == 32


def test_a_session_is_read_with_its_history(cas: OutsideCas, owner: Client, name: str) -> None:
    first = cas.upload(owner, session(name))
    second = cas.upload(owner, session(name, f"predecessor: {first}\nsalt: {'ab' * 16}\n"))
    third = cas.upload(owner, session(name, f"predecessor: {second}\nsalt: {'ac' * 16}\n"))
    walked = []
    wanted = ""
    while True:
        answer = cas.curl(f"/v1/sessions/{name}{wanted}", client=owner)
        assert answer.status == 200
        found = answer.json()
        walked.append(found["hash"])
        lines = dict(line.split(": ", 1) for line in found["session"].splitlines() if line.startswith("predecessor"))
        predecessor = lines["predecessor"].strip("\"'")
        if predecessor in {"null", "~"}:
            break
        wanted = f"?hash={predecessor}"
    assert walked == [third, second, first]
    text = cas.curl(f"/session/{name}", client=owner)
    assert text.status == 200
    assert text.body.decode() == cas.curl(f"/v1/sessions/{name}", client=owner).json()["session"]


def test_what_is_read_can_be_uploaded_again(cas: OutsideCas, owner: Client, name: str) -> None:
    rest = "secrets:\n- {name: a, kind: ascii, value: 'x: y # z'}\n- {name: k, kind: private-key, migrate: true}\n"
    hash_ = cas.upload(owner, session(name, rest))
    text = cas.curl(f"/session/{name}", client=owner).body.decode()
    again = text.replace("predecessor: null", f"predecessor: {hash_}").replace(
        "predecessor: ~", f"predecessor: {hash_}"
    )
    for unchanged in (text, again):
        answer = cas.curl("/v1/sessions", client=owner, body=unchanged)
        assert (answer.status, answer.json()) == (200, {"hash": hash_, "unchanged": True})
    assert cas.upload(owner, again.replace("x: y # z", "x: y # a")) != hash_


def test_public_values(cas: OutsideCas, owner: Client, name: str) -> None:
    cas.upload(owner, session(name))
    child = f"{name}/child"
    rest = "secrets:\n- {name: answer, kind: ascii, value: '42', export_public: true}\n- {name: hidden, kind: ascii}\n"
    cas.upload(owner, session(child, rest))
    expected = {"kind": "string", "value": "42", "expires": None, "renew": None}
    for shown in (child, child.replace("/", "%2F")):
        assert cas.curl(f"/v1/values/session={shown},secret=answer").json() == expected
        assert cas.curl(f"/v1/values/session={shown}").json() == {"values": {"answer": expected}}
    for wanted in ("hidden", "unknown"):
        refused = cas.curl(f"/v1/values/session={child},secret={wanted}")
        assert refused.status == 404
        assert f"/session={child}" in refused.problem()[0]
    hidden = cas.curl(f"/v1/values/session={child},secret=hidden", client=owner)
    assert hidden.status == 404, "not even the creator reads what is not public"
    assert "Session not found" in cas.curl("/v1/values/session=nowhere").problem()[0]


def test_head_on_values_is_refused(cas: OutsideCas, owner: Client, name: str) -> None:
    cas.upload(owner, session(name, "secrets: [{name: a, kind: ascii, export_public: true}]\n"))
    assert cas.curl(f"/v1/values/session={name},secret=a", options=["-I"]).status == 405


def test_the_name_is_taken(cas: OutsideCas, owner: Client, name: str) -> None:
    first = cas.upload(owner, session(name))
    again = cas.curl("/session", client=owner, body=session(name))
    assert (again.status, again.json()) == (201, {"hash": first, "unchanged": True})
    taken = cas.curl("/session", client=owner, body=session(name, f"salt: {'ab' * 16}\n"))
    assert taken.status == 409
    assert any("Session already exists, please specify predecessor hash" in cause for cause in taken.problem())
    cas.upload(owner, session(name, f"predecessor: {first}\nsalt: {'ab' * 16}\n"))
    stale = cas.curl("/session", client=owner, body=session(name, f"predecessor: {first}\nservices: []\n"))
    assert stale.status == 409
    unknown = cas.curl("/session", client=owner, body=session(name, f"predecessor: {'ab' * 32}\n"))
    assert unknown.status == 404
    nowhere = cas.curl("/session", client=owner, body=session(f"{name}-no", f"predecessor: {first}\n"))
    assert nowhere.status == 404


def test_who_may_not(cas: OutsideCas, owner: Client, stranger: Client, name: str) -> None:
    first = cas.upload(owner, session(name))
    assert cas.curl(f"/v1/sessions/{name}", client=stranger).status == 403
    assert cas.curl(f"/v1/sessions/{name}").status == 401
    assert cas.curl("/v1/sessions", body=session(f"{name}-2")).status == 401
    assert cas.curl("/v1/sessions", client=stranger, body=session(name, f"predecessor: {first}\n")).status == 403
    assert cas.curl("/v1/sessions", client=stranger, body=session(f"{name}/below")).status == 403
    assert cas.curl(f"/v1/sessions/{name}-none", client=stranger).status == 404


def test_what_is_wrong_is_said(cas: OutsideCas, owner: Client, name: str) -> None:
    answer = cas.curl(
        "/v1/sessions", client=owner, body=session(name, "secrets: [{name: x, kind: nonsense}]\nfoo: 1\n")
    )
    assert answer.status == 400
    assert len(answer.problem()) >= 3, "the outer text and both faults"
    assert cas.curl("/v1/sessions", client=owner, body="{[").status == 400
    assert cas.curl("/v1/sessions", client=owner, body=b"\xff\xfe").status == 400
    assert cas.curl("/v1/sessions", client=owner, body="").status == 400
    assert cas.curl("/v1/nothing", client=owner).status == 404
    assert cas.curl("/v1/sessions", client=owner, method="DELETE").status == 405
    too_much = cas.curl("/v1/sessions", client=owner, body=b"x" * ((1 << 20) + 1))
    assert too_much.status == 413


def test_azure_is_refused_by_name(cas: OutsideCas, owner: Client, name: str) -> None:
    secret = "{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: p}"
    answer = cas.curl("/v1/sessions", client=owner, body=session(name, f"secrets: [{secret}]\n"))
    assert answer.status == 400
    assert "not available in the embedded CAS" in answer.problem()[0]


def test_lists_and_hashes(cas: OutsideCas, owner: Client, stranger: Client, name: str) -> None:
    salt = "salt: 00112233445566778899aabbccddeeff\n"
    parent = cas.upload(owner, session(name, salt))
    child = cas.upload(owner, session(f"{name}/one"))
    cas.upload(owner, session(f"{name}/one/deep"))
    other = cas.upload(owner, session(f"{name}/two", salt))
    listed = cas.curl(f"/v1/sessions?namespace={name}", client=owner)
    assert listed.json() == {"sessions": [{"name": f"{name}/one"}, {"name": f"{name}/two", "hash": other}]}
    assert cas.curl(f"/v1/sessions?namespace={name}", client=stranger).status == 403
    assert cas.curl(f"/v1/hashes/{name}").json() == {"hash": parent}
    assert cas.curl(f"/v1/hashes/{name}/one", client=stranger).status == 403
    assert cas.curl(f"/v1/hashes/{name}/one", client=owner).json() == {"hash": child}


def test_a_renewed_certificate_is_the_same_client(cas: OutsideCas, owner: Client, folder: Path, name: str) -> None:
    cas.upload(owner, session(name))
    renewed = Client(folder / "renewed.crt", owner.key)
    run(["openssl", "req", "-x509", "-new", "-key", owner.key, "-subj", "/CN=renewed", "-out", renewed.certificate])
    assert cas.curl(f"/v1/sessions/{name}", client=renewed).status == 200


def test_version_health_and_what_it_is(cas: OutsideCas) -> None:
    for path in ("/health", "/livez", "/readyz", "/v1/version", "/openapi.json"):
        answer = cas.curl(path)
        assert answer.status == 200, path
        assert answer.content_type.startswith("application/json")
    assert cas.curl("/health").json()["simulation"] is True
    assert cas.curl("/v1/version").json()["simulation"] is True
    assert cas.curl("/openapi.json").json()["openapi"].startswith("3.")


def test_the_report_names_the_keys_and_is_signed(cas: OutsideCas, folder: Path) -> None:
    nonce = os.urandom(16).hex()
    answer = cas.curl(f"/v1/attest?nonce={nonce}").json()
    report = answer["report"]
    assert report["nonce"] == nonce
    assert report["simulation"] is True
    assert report["cas_key"] == cas.command("cas", "show-identification", "-c", "--dir", cas.directory).decode().strip()
    signed = json.dumps(report, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    (folder / "signature").write_bytes(base64.b64decode(answer["signature"]))
    (folder / "software.pem").write_bytes(run(["openssl", "x509", "-noout", "-pubkey"], stdin=cas.chain.read_bytes()))
    verify = ["openssl", "dgst", "-sha256", "-verify", folder / "software.pem", "-signature", folder / "signature"]
    assert b"Verified OK" in run(verify, stdin=b"sconectl simulated CAS report v1\0" + signed)


def test_a_signed_session(cas: OutsideCas, folder: Path, name: str) -> None:
    """The signature is made by openssl over the documented message; no TLS client certificate is needed."""
    key = folder / "signer.pem"
    run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key])
    public = run(["openssl", "pkey", "-in", key, "-pubout"]).decode()
    signer = f"{{signer: {json.dumps(public)}}}"
    text = f'name: {name}\nversion: "0.3.12"\naccess_policy: {{read: [ANY], update: [{signer}]}}\ncreator: {signer}\n'
    (folder / "message").write_bytes(b"sconectl signed session v1\0" + text.encode())
    signature = run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", folder / "message"])
    signed = {"session": text, "signatures": [{"signer": public, "signature": base64.b64encode(signature).decode()}]}
    answer = cas.curl("/v1/sessions", body=json.dumps(signed))
    assert answer.status == 201, answer
    forged = signed | {"session": text.replace("read: [ANY]", "read: [NONE]")}
    assert cas.curl("/v1/sessions", body=json.dumps(forged)).status == 400


def test_an_encrypted_session(cas: OutsideCas, folder: Path, name: str) -> None:
    (folder / "plain.yaml").write_text(
        f'name: {name}\nversion: "0.3.12"\naccess_policy: {{read: [ANY], update: [NONE]}}\n'
    )
    encrypted = cas.command("session", "encrypt", folder / "plain.yaml", "--cas", cas.address)
    assert name.encode() not in encrypted
    answer = cas.curl("/v1/encrypted_sessions", body=encrypted, method="PUT")
    assert answer.status == 201, answer
    broken = json.loads(encrypted)
    raw = bytearray(base64.b64decode(broken["encrypted_session"]))
    raw[-1] ^= 1
    broken["encrypted_session"] = base64.b64encode(raw).decode()
    assert cas.curl("/v1/encrypted_sessions", body=json.dumps(broken), method="PUT").status == 400


def test_without_its_chain_nobody_believes_it(cas: OutsideCas, owner: Client) -> None:
    command = ["curl", "-sS", "--connect-to", f"cas:8081:{cas.address}", "https://cas:8081/health"]
    assert run(command, code=60) == b""
    subject = run(["openssl", "s_client", "-connect", cas.address, "-showcerts"], stdin=b"", code=None).decode()
    chain = [line for line in subject.splitlines() if line.strip().startswith(("0 s:", "1 s:", "i:", "subject="))]
    assert chain
    assert all("simulation" in line.lower() for line in chain), chain


BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def test_a_browser_shows_a_public_value(cas: OutsideCas, owner: Client, folder: Path, name: str) -> None:
    browser = next((found for known in BROWSERS if (found := shutil.which(known))), None)
    if browser is None:
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed; `make test` installs one")
    cas.upload(owner, session(name, "secrets: [{name: shown, kind: ascii, value: forty-two, export_public: true}]\n"))
    pin = run(["openssl", "x509", "-noout", "-pubkey"], stdin=_served_certificate(cas))
    der = run(["openssl", "pkey", "-pubin", "-outform", "der"], stdin=pin)
    digest = base64.b64encode(run(["openssl", "dgst", "-sha256", "-binary"], stdin=der)).decode()
    page = run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
            *(f"--ignore-certificate-errors-spki-list={digest}", "--dump-dom"),
            f"https://{cas.address}/v1/values/session={name},secret=shown",
        ]
    )
    assert b"forty-two" in page


def _served_certificate(cas: OutsideCas) -> bytes:
    shown = run(["openssl", "s_client", "-connect", cas.address], stdin=b"", code=None).decode()
    begin, end = shown.index("-----BEGIN CERTIFICATE-----"), shown.index("-----END CERTIFICATE-----")
    return (shown[begin:end] + "-----END CERTIFICATE-----\n").encode()


def test_the_seeds_read_a_ca_certificate(cas: OutsideCas, owner: Client, folder: Path, name: str) -> None:
    """The command lines of the community's scripts, host name and port aside."""
    rest = (
        "secrets:\n- {name: ca_key, kind: private-key}\n"
        "- {name: SERVER_CA_CERT, kind: x509-ca, private_key: ca_key, export_public: true}\n"
    )
    cas.upload(owner, session(name, rest))
    script = (
        'echo -e $(curl -sS --cacert "$CHAIN" "https://$CAS/v1/values/session=$NAME,secret=SERVER_CA_CERT"'
        ' | jq ".value") | head -c -2 | tail -c +2 > "$OUT"'
    )
    if shutil.which("jq") is None:
        script = script.replace(
            'jq ".value"', "python3 -c 'import json,sys; print(json.dumps(json.load(sys.stdin)[\"value\"]))'"
        )
    out = folder / "ca.crt"
    environment = os.environ | {"CHAIN": str(cas.chain), "CAS": cas.address, "NAME": name, "OUT": str(out)}
    subprocess.run(["bash", "-c", script], env=environment, check=True, timeout=60)
    assert b"CA:TRUE" in run(["openssl", "x509", "-noout", "-text", "-in", out])
