"""Codes SC4xxx, security advice, and what can be wrong with its waivers."""

from __future__ import annotations

from sconectl.codes.code import Code

MALFORMED, EXPIRED, UNUSED = "SC4090", "SC4091", "SC4092"
WAIVERS = frozenset({MALFORMED, EXPIRED, UNUSED})
"""Codes about waivers, which cannot be waived themselves."""

NOT_ONLY_TEXT = frozenset({"SC4001", "SC4010"})
"""Advice that depends on more than the text of the manifest: options, facts, other manifests of the same run."""

_WAIVE = (
    "\n\nIf this is a decision, say so, for how long and why, at the end of the line or right above it:\n\n"
    '# sconectl:allow {code} until=2030-01-31 reason="…"'
)


def _advice(code: str, title: str, text: str, wrong: str = "", right: str = "") -> Code:
    return Code(title, text + _WAIVE.format(code=code), wrong, right)


CODES: dict[str, Code] = {
    "SC4001": _advice(
        "SC4001",
        "debug mode",
        "An enclave in debug mode can be read and changed by whoever runs the machine: its memory holds every secret "
        "that the CAS gives it. `debug-mode` in `policy.tolerate` makes the CAS give the secrets of all services of "
        "the mesh to such enclaves; an image that is built with `--mode debug` makes it do so for that service.\n\n"
        "Build with `--mode production`, and tolerate debug mode in a mesh for tests only.",
        "policy:\n  namespace: shop\n  tolerate: debug-mode",
        "policy:\n  namespace: shop",
    ),
    "SC4002": _advice(
        "SC4002",
        "all security advisories are ignored",
        '`ignore_advisories: "*"` accepts machines with any known weakness of the processor, also with those that '
        "become known after today. Nobody will notice when a machine needs an update.\n\n"
        "Name the advisories that you have looked at and accept.",
        'policy:\n  namespace: shop\n  ignore_advisories: "*"',
        'policy:\n  namespace: shop\n  ignore_advisories: "INTEL-SA-00615, INTEL-SA-00657"',
    ),
    "SC4003": _advice(
        "SC4003",
        "the CAS is trusted without proof",
        "The flags `--only_for_testing-…` in `tolerance` switch off a part of what makes a CAS trustworthy: who signed "
        "it, whether it runs in debug mode, whether it is an enclave at all. Whoever can answer at its address then "
        "gets the policies with all secrets in them.\n\n"
        "Give the `cas_key` of the CAS, and tolerate only what `sconectl cas attest` has to be told in production.",
        "cas:\n  - cas_url: cas.example.org\n    tolerance: --only_for_testing-debug",
        "cas:\n  - cas_url: cas.example.org\n    cas_key: 46YyxrywJ8PFRruWX8YLxa9q4axxYJgTbA81tv7NBcJfn43DQt",
    ),
    "SC4004": _advice(
        "SC4004",
        "the host decides which authorities are trusted",
        "A path in `host_paths` has the content that the host gives it. If certificates of authorities (CAs) are among "
        "it, whoever runs the machine can add one of their own, and stand in the middle of every TLS connection "
        "that the program makes.\n\n"
        "Leave the path out: the certificates of the image are then protected like all its files. Or inject the one "
        "certificate that the program needs.",
        "build:\n  host_paths:\n    - /etc/ssl/certs",
        "injection_files:\n  - path: /etc/database-ca.crt\n    content: $$SCONE::DATABASE_CA_CERT:chain$$",
    ),
    "SC4005": _advice(
        "SC4005",
        "a credential in plain text",
        "The value looks like a password, key or token: by the name of the variable, or by its form. Whoever reads the "
        "manifest, its history in a repository or a log of the build has it, and it cannot be taken back.\n\n"
        "Let the CAS draw the value: define a secret without `value`, and write `$$SCONE::NAME$$`. If the value comes "
        "from elsewhere, keep it out of the file: write `$NAME`, and give it with `--env-file`.\n\n"
        "Not taken for credentials: placeholders, references by name, paths, hosts, numbers, true and false.",
        "environment:\n  local:\n    - name: DB_PASSWORD\n      value: hunter2",
        "environment:\n  local:\n    - name: DB_PASSWORD\n      value: $$SCONE::db-password$$\n"
        "secrets:\n  global:\n    - name: db-password\n      kind: ascii",
    ),
    "SC4006": _advice(
        "SC4006",
        "a secret with its value in plain text",
        "A secret that is given as `value` is known to everybody who reads the manifest, though the CAS guards it.\n\n"
        "Leave `value` out: the CAS draws one, once, and keeps it over updates. If the value comes from elsewhere, "
        "keep it out of the file: write `$NAME`, and give it with `--env-file`.",
        "secrets:\n  global:\n    - name: db-password\n      kind: ascii\n      value: hunter2",
        "secrets:\n  global:\n    - name: db-password\n      kind: ascii\n      size: 20",
    ),
    "SC4007": _advice(
        "SC4007",
        "an image without a fixed version",
        "An image without a tag, or with one like `latest` that moves by design, is another image tomorrow. What is "
        "built from it is then not what was tested, and a policy that was made for yesterday's image keeps today's "
        "from starting.\n\n"
        "Name a version, or better the digest, which nobody can move: `image@sha256:…`.",
        "services:\n  - name: web\n    image: registry.example.org/web:latest",
        "services:\n  - name: web\n    image: registry.example.org/web:1.4.2",
    ),
    "SC4008": _advice(
        "SC4008",
        "a secret that everybody may read",
        "`export_public` lets everybody who reaches the CAS read the value, without password and attestation. "
        "That is meant for certificates of authorities (x509-ca) and for public keys.\n\n"
        "Remove it. To give the secret to certain services, let them import it, or name them in `export`.",
        "secrets:\n  global:\n    - name: token\n      kind: ascii\n      export_public: true",
        "secrets:\n  global:\n    - name: token\n      kind: ascii",
    ),
    "SC4009": _advice(
        "SC4009",
        "a secret for a whole namespace",
        "Every session of the namespace may import the secret, also those that are made later: whoever may create a "
        "session there has it.\n\n"
        "Services of the same mesh need no `export`: whoever imports the secret is added. For others name the session.",
        "export:\n  - namespace: shop",
        "export:\n  - session: shop/reports",
    ),
    "SC4010": _advice(
        "SC4010",
        "a secret that nobody uses",
        "The secret is neither in the command, a variable or an injected file, nor does another secret need it, nor is "
        "it exported. Each secret that a session has can be lost; one that nobody needs should not exist.\n\n"
        "Remove it. If a service of another manifest imports it, apply or validate both in one run, or say who it is "
        "for with `export`.",
    ),
    "SC4011": _advice(
        "SC4011",
        "a secret in a variable of the environment",
        "Every process that the program starts inherits its variables, and error reports like to show them all. "
        "A file that is injected exists in the memory of the enclave only, and is read by whom it concerns.\n\n"
        "Write the secret to `injection_files`, and let the program read the file: many programs take its path from a "
        "variable like `DB_PASSWORD_FILE`. If yours can only read the variable itself, waive this advice.",
        "environment:\n  local:\n    - name: DB_PASSWORD\n      value: $$SCONE::db-password$$",
        "environment:\n  local:\n    - name: DB_PASSWORD_FILE\n      value: /run/db-password\n"
        "injection_files:\n  - path: /run/db-password\n    content: $$SCONE::db-password$$",
    ),
    "SC4012": _advice(
        "SC4012",
        "a certificate that fits too much",
        "Without `endpoint` a certificate serves both ends of a connection: who steals a client's can play the server. "
        "Without `dns` no client can check that it talks to the right server, and will be told not to check at all.\n\n"
        "Say `endpoint: server` and give `dns`, or say `endpoint: client`.",
        "- name: web\n  kind: x509\n  private_key: web-key\n  issuer: ca",
        "- name: web\n  kind: x509\n  private_key: web-key\n  issuer: ca\n  endpoint: server\n  dns: [web.example.org]",
    ),
    "SC4013": _advice(
        "SC4013",
        "a private key that changes with each update",
        "With `migrate: false`, the CAS draws a new private key with each update of the session, also if only a "
        "variable changed. Old and new instances, which run side by side for a while, then have different keys, "
        "clients that know the old one refuse the new one, and what was signed or encrypted with the old one is "
        "lost.\n\n"
        "Remove `migrate: false`: without it the key is kept. If new keys are what you want, waive the advice.",
        "- name: web-key\n  kind: private-key\n  migrate: false",
        "- name: web-key\n  kind: private-key",
    ),
    "SC4014": _advice(
        "SC4014",
        "a pod with power over its node, or with a directory of it",
        "The chart gives a pod no capability, no way to more rights, and no directory of the node. With `privileged`, "
        "SYS_ADMIN and the like, whoever takes over the program takes over the machine, and every other pod on it. "
        "Whoever runs the node reads and changes what is in a `hostPath`, and it stays when the pod is gone.\n\n"
        "Give the one capability that the program needs. Keep data in a volume of the service, which can be encrypted, "
        "or in a persistentVolumeClaim.",
        "helm_extra_values:\n  web:\n    securityContext: {privileged: true}\n"
        "    extraVolumes: [{name: data, hostPath: {path: /srv/data}}]",
        "helm_extra_values:\n  web:\n    securityContext: {capabilities: {add: [NET_BIND_SERVICE]}}\n"
        "    persistence: {enabled: true, mountPath: /data}",
    ),
    MALFORMED: Code(
        "a waiver that cannot be understood",
        "A comment that begins with `sconectl:allow` silences nothing unless it names the code of one piece of "
        "security advice (SC4…) or of one change that weakens (SC5…), a date, and a reason in double quotes, in this "
        "order. Errors, and warnings of other kinds, cannot be waived. A comment is about the line that it ends, or, "
        "on a line of its own, about the first line below that is no comment. That of a change stands in a mesh, in "
        "one of the lines of a service, or of `policy` for all of them.",
        "image: registry.example.org/web:latest # sconectl:allow SC4007",
        'image: registry.example.org/web:latest # sconectl:allow SC4007 until=2030-01-31 reason="a demonstration"',
    ),
    EXPIRED: Code(
        "a waiver that has expired",
        "The date in `until` was the last day on which the waiver counted. That is an error, because somebody decided "
        "to look at it again by then: mend what it allowed, or give a new date.",
    ),
    UNUSED: Code(
        "a waiver that nothing needs",
        "There is no such advice at the line that the comment is about. The waiver would hide what comes there one "
        "day, so remove it, or move it to the line that the advice names.",
    ),
}
