"""Security advice: each piece at its place, and none where everything is in order."""

from __future__ import annotations

import textwrap

import pytest
from fakes.builders import facts

from sconectl.codes.advice import CODES, WAIVERS
from sconectl.manifest.reading.reader import Manifest, read_manifest
from sconectl.plan.advice.advice import advise, advise_on_images, used_by

SERVICE = """\
apiVersion: scone/5.8
kind: genservice
build:
  name: web
  kind: python
  to: registry.example.org/web:1
  pwd: /app
  command: python3 main.py
"""
MESH = """\
apiVersion: scone/5.8
kind: mesh
cas:
  - name: cas
    cas_url: cas.example.org
"""
SERVICES = """\
services:
  - name: web
    image: registry.example.org/web:1
"""


def read(text: str, **variables: str) -> Manifest:
    return read_manifest(text, "m.yaml", variables)


def service(build: str = "", rest: str = "environment: {}\n", **variables: str) -> Manifest:
    """Return a service manifest with these lines behind `build` and at the end."""
    return read(SERVICE + textwrap.indent(textwrap.dedent(build), "  ") + textwrap.dedent(rest), **variables)


def mesh(policy: str = "", env: str = "env: []\n", services: str = SERVICES, cas: str = "") -> Manifest:
    text = MESH + textwrap.indent(cas, "    ") + "policy:\n  namespace: shop\n" + textwrap.indent(policy, "  ")
    return read(text + textwrap.dedent(env) + services)


def advice(manifest: Manifest, **more: object) -> list[tuple[str, str]]:
    """Return code and path of each piece of advice, after checking that each points at its field."""
    findings = advise(manifest, **more)  # type: ignore[arg-type]
    for finding in findings:
        assert finding.severity == "warning"
        assert finding.message and finding.hint
        assert finding.code in CODES and finding.code not in WAIVERS
    assert findings == sorted(findings, key=lambda finding: finding.position)
    return [(finding.code, finding.path) for finding in findings]


def secrets(text: str, *, build: str = "", use: str = "") -> Manifest:
    """Return a service with these secrets, all of them in an injected file."""
    body = textwrap.indent(textwrap.dedent(text).rstrip(), "    ") + "\n"
    files = f"injection_files:\n  - path: /run/all\n    content: {use}\n" if use else ""
    return service(build, f"environment: {{}}\nsecrets:\n  global:\n{body}{files}")


def test_nothing_is_said_where_all_is_well() -> None:
    good = service(
        """\
        from: registry.example.org/base@sha256:%s
        stable: registry.example.org/web:0.9
        host_paths: [/dev/shm, /tmp]
        """
        % ("0" * 64),
        """\
        environment:
          local:
            - {name: PASSWORD_FILE, value: /run/password}
            - {name: PORT, value: 8080}
            - {name: API_URL, value: "https://api.example.org/v1"}
          global:
            - name: user
        secrets:
          import: [db_ca]
          global:
            - {name: password, kind: ascii, size: 30}
            - {name: key, kind: private-key, migrate: true}
            - {name: cert, kind: x509, private_key: key, issuer: ca, endpoint: server, dns: [web]}
            - {name: client, kind: x509, private_key: key, issuer: ca, endpoint: client}
            - {name: ca_key, kind: private-key, migrate: true}
            - {name: ca, kind: x509-ca, private_key: ca_key, export_public: true}
            - {name: given, kind: ascii, export: [{session: shop/reports}]}
        injection_files:
          - {path: /run/password, content: $$SCONE::password$$}
          - {path: /run/cert, content: $$SCONE::cert.crt$$ $$SCONE::cert:privatekey$$ $$SCONE::client$$}
          - {path: /run/db, content: "$$SCONE::db_ca:chain$$"}
        """,
    )
    assert advice(good) == []
    assert advice(mesh("tolerate: outdated-tcb\nignore_advisories: INTEL-SA-00615\n")) == []


# --- what is trusted ------------------------------------------------------------------------------------------------


def test_debug_mode_in_a_mesh() -> None:
    for text in ("debug-mode", "outdated-tcb, debug-mode", "outdated-tcb,debug"):
        assert advice(mesh(f'tolerate: "{text}"\n')) == [("SC4001", "policy.tolerate")]


def test_debug_mode_of_a_build() -> None:
    assert advice(service(), mode="production") == []
    assert advice(service(), mode="debug") == [("SC4001", "build.to")]


def test_debug_mode_of_an_image() -> None:
    image = facts("web")
    debug = image.model_copy(update={"parameters": {**image.parameters, "mode": "debug"}})
    assert advise_on_images(mesh(), {"web": image}) == []
    (found,) = advise_on_images(mesh(), {"web": debug})
    assert (found.code, found.path, found.position.line) == ("SC4001", "services[0].image", 11)
    assert advise_on_images(service(), {"web": debug}) == []


def test_all_advisories() -> None:
    assert advice(mesh('ignore_advisories: "*"\n')) == [("SC4002", "policy.ignore_advisories")]


def test_a_cas_for_testing_only() -> None:
    given = mesh(cas='tolerance: "-C -G --only_for_testing-trust-any --only_for_testing-debug"\n')
    (found,) = advise(given)
    assert (found.code, found.path) == ("SC4003", "cas[0].tolerance")
    assert "--only_for_testing-trust-any and --only_for_testing-debug" in found.message
    assert advice(mesh(cas='tolerance: "-C -G -S"\n')) == []


@pytest.mark.parametrize(
    "path",
    [
        "/etc/ssl/certs",
        "/etc/ssl/certs/",
        "/etc/ssl",
        "/etc",
        "/",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/usr/share/ca-certificates",
        "/usr/lib/jvm/java-17/lib/security/cacerts",
    ],
)
def test_authorities_of_the_host(path: str) -> None:
    assert advice(service(f"host_paths: [/tmp, {path}]\n")) == [("SC4004", "build.host_paths[1]")]


@pytest.mark.parametrize("path", ["/tmp", "/etc/hosts", "/etc/ssl/private", "/etcetera", "/usr/lib/ssl-tools"])
def test_other_paths_of_the_host(path: str) -> None:
    assert advice(service(f"host_paths: [{path}]\n")) == []


@pytest.mark.parametrize(
    ("image", "moving"),
    [
        ("web", True),
        ("registry.example.org:5000/web", True),
        ("registry.example.org/web:latest", True),
        ("registry.example.org/web:stable", True),
        ("web:1", False),
        ("registry.example.org:5000/web:1.4.2-alpine", False),
        ("web:latest@sha256:" + "1" * 64, False),
        ("web@sha256:" + "1" * 64, False),
    ],
)
def test_images_without_a_fixed_version(image: str, moving: bool) -> None:
    expected = [("SC4007", "services[0].image")] if moving else []
    assert advice(mesh(services=f"services:\n  - name: web\n    image: {image}\n")) == expected
    expected = [("SC4007", "build.from"), ("SC4007", "build.stable")] if moving else []
    assert advice(service(f"from: {image}\nstable: {image}\n")) == expected


# --- values ---------------------------------------------------------------------------------------------------------


def test_credentials_in_variables() -> None:
    given = service(
        rest="""\
        environment:
          local:
            - name: DB_PASSWORD
              value: hunter2-canary
            - {name: MOOD, value: good}
          global:
            - {name: api_token, value: s3cr3t}
        """
    )
    assert advice(given) == [("SC4005", "environment.local[0].value"), ("SC4005", "environment.global[0].value")]
    found = advise(given)[0]
    assert (found.position.line, found.position.column) == (12, 14)
    assert "DB_PASSWORD" in found.message
    assert "hunter2" not in str(found)


def test_a_value_that_is_the_name_of_a_secret_is_none() -> None:
    given = service(
        rest="""\
        environment:
          local: [{name: BACKEND_TOKEN, value: token1}]
        secrets:
          import: [token1]
        injection_files:
          - {path: /run/t, content: $$SCONE::token1$$}
        """
    )
    assert advice(given) == []


def test_a_value_that_is_given_from_outside_is_not_in_the_file() -> None:
    text = "environment:\n  local:\n    - {name: DB_PASSWORD, value: $PW}\n    - {name: DB_PASSWORD_2, value: pa$$wd}\n"
    assert advice(service(rest=text, PW="hunter2")) == [("SC4005", "environment.local[1].value")]


def test_well_known_credentials_in_texts() -> None:
    token = "ghp_" + "a1B2" * 9
    given = service(
        f"run: ['git clone https://{token}@example.org/x']\n",
        "environment: {}\ninjection_files:\n  - path: /run/key\n    content: |\n      -----BEGIN PRIVATE KEY-----\n"
        "      MC4CAQ\n",
    )
    assert advice(given) == [("SC4005", "build.run[0]"), ("SC4005", "injection_files[0].content")]
    assert not any("a1B2" in str(found) or "MC4CAQ" in str(found) for found in advise(given))


def test_credentials_in_a_mesh() -> None:
    given = mesh(
        env="""\
        env:
          - service: global
            env:
              - {name: imagePullSecrets, value: sconeapps}
              - {name: session_secrets, value: ../secrets}
              - {name: NGINX_BACKEND_CLIENT_CERT, value: FASTAPI_CLIENT_CERT}
          - service: web
            env:
              - {name: DB_URL, value: "postgres://app:hunter2@db/app"}
        """
    )
    assert advice(given) == [("SC4005", "env[1].env[0].value")]


def test_secrets_with_their_values() -> None:
    given = secrets(
        """\
        - {name: banner, kind: ascii, value: "Welcome, everybody"}
        - {name: xpassword, kind: ascii, value: "#NOPE!"}
        - name: key
          kind: private-key
          value: |
            -----BEGIN PRIVATE KEY-----
            MC4CAQ
            -----END PRIVATE KEY-----
        - {name: later_password, kind: ascii, value: "{{X}}"}
        """,
        use="$$SCONE::banner$$ $$SCONE::xpassword$$ $$SCONE::key$$ $$SCONE::later_password$$",
    )
    assert advice(given) == [("SC4006", "secrets.global[1].value"), ("SC4006", "secrets.global[2].value")]


def test_the_secret_of_an_application() -> None:
    token = "{name: t, kind: aad-token, tenant_id: a, client_id: b, application_secret: %s}"
    assert advice(secrets("- " + token % "dGmbyTBE4JNAN3JJobeD", use="$$SCONE::t$$")) == [
        ("SC4006", "secrets.global[0].application_secret")
    ]
    assert advice(secrets("- " + token % '"{{SECRET}}"', use="$$SCONE::t$$")) == []


def test_secrets_in_variables() -> None:
    given = service(
        rest="""\
        environment:
          local:
            - {name: PASSWORD, value: $$SCONE::password$$}
            - {name: PEM, value: "$$SCONE::cert:privatekey$$"}
            - {name: CERT, value: "$$SCONE::cert$$"}
            - {name: OLD_CERT, value: "$$SCONE::cert.crt$$"}
            - {name: CHAIN, value: "$$SCONE::ca:chain$$"}
            - {name: PUB, value: $$SCONE::pub$$}
            - {name: OLD_KEY, value: $$SCONE::cert.key$$}
          global:
            - {name: token, value: "Bearer $$SCONE::token$$"}
        secrets:
          import: [ca, token]
          global:
            - {name: password, kind: ascii}
            - {name: key, kind: private-key}
            - {name: pub, kind: public-key, private_key: key}
            - {name: cert, kind: x509, private_key: key, endpoint: client}
        """
    )
    expected = ["local[0]", "local[1]", "local[6]", "global[0]"]
    assert advice(given) == [("SC4011", f"environment.{place}.value") for place in expected]
    assert "the secret cert is given in the variable OLD_KEY" in advise(given)[2].message


# --- secrets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entry", "allowed"),
    [
        ("kind: ascii", False),
        ("kind: binary", False),
        ("kind: private-key", False),
        ("kind: x509, private_key: k, endpoint: client", False),
        ("kind: x509-ca, private_key: k", True),
        ("kind: public-key, private_key: k", True),
    ],
)
def test_secrets_that_everybody_may_read(entry: str, allowed: bool) -> None:
    given = secrets(
        f"- {{name: s, {entry}, export_public: true}}\n- {{name: k, kind: private-key}}", use="$$SCONE::k$$"
    )
    assert advice(given) == ([] if allowed else [("SC4008", "secrets.global[0].export_public")])
    quiet = secrets(
        f"- {{name: s, {entry}, export_public: false}}\n- {{name: k, kind: private-key}}", use="$$SCONE::k$$"
    )
    assert ("SC4008", "secrets.global[0].export_public") not in advice(quiet)


def test_exports_to_namespaces() -> None:
    given = secrets(
        """\
        - name: a
          kind: ascii
          export: [{session: shop/x}, {namespace: shop}]
        - name: b
          kind: ascii
          export: {namespace: shop}
        """
    )
    assert advice(given) == [
        ("SC4009", "secrets.global[0].export[1].namespace"),
        ("SC4009", "secrets.global[1].export[0].namespace"),
    ]
    assert [finding.position.line for finding in advise(given)] == [14, 17]


def test_secrets_that_nobody_uses() -> None:
    given = secrets(
        """\
        - {name: used, kind: x509, private_key: used_key, issuer: used_ca, endpoint: client}
        - {name: used_key, kind: private-key}
        - {name: used_ca, kind: x509-ca, private_key: used_ca_key}
        - {name: used_ca_key, kind: private-key}
        - {name: unused, kind: x509, private_key: unused_key, endpoint: client}
        - {name: unused_key, kind: private-key}
        """,
        use="$$SCONE::used.crt$$",
    )
    assert advice(given) == [("SC4010", "secrets.global[4]"), ("SC4010", "secrets.global[5]")]
    assert advice(given, used={"unused"}) == []


def test_a_secret_in_a_claim_of_a_token_is_used() -> None:
    given = secrets(
        """\
        - {name: audience, kind: ascii}
        - {name: part, kind: ascii}
        - {name: key, kind: private-key, key_type: P-384}
        - name: token
          kind: jwt
          signer: key
          alg: ES384
          validity: {for: 24h}
          payload: {aud: $$SCONE::audience$$, sub: of $$SCONE::part$$}
        """,
        use="$$SCONE::token$$",
    )
    assert advice(given) == [("SC4010", "secrets.global[1]")]


@pytest.mark.parametrize(
    "text",
    [
        "  command: python3 main.py $$SCONE::s$$\nenvironment: {}\n",
        '  command: x\nenvironment:\n  global: [{name: v, value: "$$SCONE::s:hex$$"}]\n',
        "  command: x\nenvironment: {}\ninjection_files: [{path: /a, content: '$$SCONE::s|escape(json)$$'}]\n",
        "  command: x\nenvironment: {}\ninjection_files: [{path: /a, content: '$$SCONE::{{which}}$$'}]\n",
    ],
)
def test_every_use_counts(text: str) -> None:
    head = SERVICE[: SERVICE.index("  command")]
    for section in ("global: [{name: s, kind: binary}]", "import: [s]"):
        found = advice(read(f"{head}{text}secrets: {{{section}}}\n"))
        assert not [path for code, path in found if code == "SC4010"]
        unused = advice(read(f"{head}  command: x\nenvironment: {{}}\nsecrets: {{{section}}}\n"))
        assert [code for code, _ in unused] == ["SC4010"]


def test_what_other_manifests_use() -> None:
    importer = service(rest="environment: {}\nsecrets: {import: [s]}\n")
    values = mesh(env="env:\n  - service: global\n    env: [{name: sql, value: x $$SCONE::root.key$$}]\n")
    assert used_by([importer, values]) == {"s", "root", "root.key"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "good for servers and clients: it has no endpoint, and no dns name"),
        ("dns: [a]", "good for servers and clients: it has no endpoint"),
        ('san: ["dns:a"]', "good for servers and clients: it has no endpoint"),
        ("endpoint: server", "for a server, but for no name"),
        ("endpoint: server, dns: [a]", ""),
        ('endpoint: server, san: ["ip:192.0.2.7"]', ""),
        ("endpoint: client", ""),
    ],
)
def test_certificates(fields: str, message: str) -> None:
    entry = f"- {{name: k, kind: private-key}}\n- {{name: c, kind: x509, private_key: k, {fields}}}\n"
    found = advise(secrets(entry, use="$$SCONE::c$$"))
    assert [(one.code, one.path, message in one.message) for one in found] == (
        [("SC4012", "secrets.global[1]", True)] if message else []
    )


@pytest.mark.parametrize(
    ("field", "found"), [("", False), ("migrate: true", False), ("migrate: false", True), ("migrate: '{{X}}'", False)]
)
def test_private_keys_that_change(field: str, found: bool) -> None:
    given = secrets(f"- {{name: k, kind: private-key, {field}}}\n", use="$$SCONE::k$$")
    assert advice(given) == ([("SC4013", "secrets.global[0]")] if found else [])


# --- pods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "places"),
    [
        ("{extraVolumes: [{name: d, hostPath: {path: /srv}}]}", ["extraVolumes[0].hostPath"]),
        ("{extraVolumes: [{name: a, emptyDir: {}}, {name: d, hostPath: {path: /}}]}", ["extraVolumes[1].hostPath"]),
        ("{extraVolumes: [{name: d, hostPath: {path: /dev/sgx_enclave}}]}", []),
        ("{extraVolumes: [{name: d, hostPath: {path: /dev/../etc}}]}", ["extraVolumes[0].hostPath"]),
        ("{extraVolumes: [{name: d, persistentVolumeClaim: {claimName: c}}]}", []),
        ("{securityContext: {privileged: true}}", ["securityContext.privileged"]),
        ("{securityContext: {privileged: false, allowPrivilegeEscalation: false}}", []),
        ("{securityContext: {allowPrivilegeEscalation: true}}", ["securityContext.allowPrivilegeEscalation"]),
        ("{securityContext: {capabilities: {add: [NET_BIND_SERVICE, SETUID, SETGID, DAC_OVERRIDE]}}}", []),
        (
            "{securityContext: {capabilities: {add: [NET_BIND_SERVICE, SYS_ADMIN, CAP_SYS_PTRACE]}}}",
            ["securityContext.capabilities.add[1]", "securityContext.capabilities.add[2]"],
        ),
        ("{podSecurityContext: {seccompProfile: {type: Unconfined}}}", ["podSecurityContext.seccompProfile.type"]),
        ("{podSecurityContext: {seccompProfile: {type: RuntimeDefault}}}", []),
        ("{securityContext: ~, extraVolumes: ~, replicaCount: 2}", []),
        ("{securityContext: {capabilities: all}, extraVolumes: [text]}", []),
    ],
)
def test_power_over_the_node(values: str, places: list[str]) -> None:
    of_mesh = mesh(services=f"{SERVICES}helm_extra_values: {{web: {values}, global: {{}}}}\n")
    assert advice(of_mesh) == [("SC4014", f"helm_extra_values.web.{place}") for place in places]
    of_service = mesh(services=f"{SERVICES}    helm_extra_values: {values}\n")
    assert advice(of_service) == [("SC4014", f"services[0].helm_extra_values.{place}") for place in places]
    text = mesh(services=f"{SERVICES}    helm_extra_values: |\n      {values}\n")
    assert [found.code for found in advise(text)] == ["SC4014" for _ in places]
    assert {found.position.line for found in advise(text)} <= {12}  # that of the field
