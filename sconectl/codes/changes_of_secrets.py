"""Codes SC504x and SC505x, what weakens the secrets of a session: who gets them, and how they come about."""

from __future__ import annotations

from sconectl.codes.code import Code

_CERTIFICATE = "secrets:\n- {name: key, kind: private-key}\n- name: web\n  kind: x509\n  private_key: key\n"

CODES: dict[str, Code] = {
    "SC5041": Code(
        "another session may import a secret",
        "The services of that session can have the value, and whoever may update that session decides which programs "
        "these are, now and later.\n\nExport to one version of it, with `session_hash`.",
        "secrets:\n- {name: password, kind: ascii, export: [{session: shop/cart}]}",
        "secrets:\n- {name: password, kind: ascii, export: [{session: shop/cart, session_hash: H}]}",
    ),
    "SC5042": Code(
        "every session in a namespace may import a secret",
        "That includes sessions which somebody creates later. Whoever may create sessions in the namespace can have "
        "the value.\n\nExport to the sessions that need it.",
        "secrets:\n- {name: password, kind: ascii, export: [{namespace: shop}]}",
        "secrets:\n- {name: password, kind: ascii, export: [{session: shop/cart}]}",
    ),
    "SC5043": Code(
        "an export holds for every version of a session",
        "With `session_hash` the receiver is one version, and you know which programs get the secret or volume. "
        "Without it whoever may update that session decides.\n\n"
        "Keep the hash, and change it with each update of the other session.",
        "secrets:\n- {name: password, kind: ascii, export: [{session: shop/cart}]}",
        "secrets:\n- {name: password, kind: ascii, export: [{session: shop/cart, session_hash: H}]}",
    ),
    "SC5044": Code(
        "a session of another CAS may import a secret",
        "The other CAS has the value then, and who runs it, updates it or backs it up decides what becomes of it. "
        "`cas_key` trusts all its future versions, too.\n\n"
        "Name the CAS by `cas_software_key`, and the session with `session_hash`.",
        "secrets:\n- {name: s, kind: ascii, export: [{cas_url: cas.example.org, cas_key: K, session: a}]}",
        "secrets:\n"
        "- {name: s, kind: ascii, export: [{cas_url: cas.example.org, cas_software_key: K, session: a,"
        " session_hash: H}]}",
    ),
    "SC5045": Code(
        "everybody may read a secret",
        "`export_public` lets everybody who reaches the CAS read the value, without a certificate. What has been read "
        "cannot be taken back.\n\nKeep it for certificates of authorities and public keys.",
        "secrets:\n- {name: password, kind: ascii, export_public: true}",
        "secrets:\n- {name: ca, kind: x509-ca, private_key: ca-key, export_public: true}",
    ),
    "SC5046": Code(
        "a service gets a secret, or whoever may read a token",
        "A program that did not have the value has it from now on, in its command, a variable, a file, as the key of "
        "its file system, or because it may ask for it (`provide_secrets`). Who gets a token can read what its claims "
        "name.\n\nGive a secret to the one service that needs it.",
        'services:\n- {name: app, attestation: {mrenclave: H}, environment: {TOKEN: "$$SCONE::token$$"}}\n'
        "secrets:\n- {name: token, kind: ascii}",
        "services:\n- {name: app, attestation: {mrenclave: H}}\nsecrets:\n- {name: token, kind: ascii}",
    ),
    "SC5047": Code(
        "files of an image may use every secret",
        "A file without `content` comes from the image, and may name any secret of the session, also those that are "
        "added later. The session does not show which.\n\n"
        "List what it needs in `provide_secrets`.",
        "images:\n- {name: i, injection_files: [/etc/app.conf]}",
        "images:\n- {name: i, injection_files: [/etc/app.conf], provide_secrets: [password]}",
    ),
    "SC5051": Code(
        "a generated secret is shorter",
        "Fewer characters or bytes are easier to guess. Each character of an `ascii` secret is worth about six bits; a "
        "key needs 128 bits, and keys of ciphers need their exact size.\n\n"
        "Keep the default of 20, or take more.",
        "secrets:\n- {name: password, kind: ascii, size: 6}",
        "secrets:\n- {name: password, kind: ascii, size: 32}",
    ),
    "SC5052": Code(
        "a private key is of a weaker type",
        "Breaking an RSA key of 2048 bits takes about 2^112 steps, P-256, Ed25519 and RSA-3072 take 2^128, P-384 takes "
        "2^192.\n\nKeep the type, unless a program cannot use it.",
        "secrets:\n- {name: key, kind: private-key, key_type: RSA-2048}",
        "secrets:\n- {name: key, kind: private-key, key_type: P-384}",
    ),
    "SC5053": Code(
        "a value that the CAS drew is written in the session",
        "Nobody knew the value. Now whoever may read the session has it, and so has whoever can read its text on a "
        "disk or in a repository.\n\nLeave `value` out, or import the secret from a session that fewer people read.",
        "secrets:\n- {name: password, kind: ascii, value: written}",
        "secrets:\n- {name: password, kind: ascii}",
    ),
    "SC5054": Code(
        "a secret or volume comes from elsewhere",
        "Whoever may update the session that exports it, or write to the key vault, knows the value and decides what "
        "it is: a key they know, or a certificate of their own. Before, this session or another source decided.\n\n"
        "Import one version of the session, with `session_hash`.",
        "secrets:\n- {name: key, import: {session: team/keys, secret: key}}",
        "secrets:\n- {name: key, import: {session: team/keys, secret: key, session_hash: H}}",
    ),
    "SC5055": Code(
        "an import takes every version of a session",
        "With `session_hash` the value comes from one version of the session. Without it whoever may update that "
        "session decides about the value.\n\nKeep the hash, and change it with each update of the other session.",
        "secrets:\n- {name: key, import: {session: team/keys, secret: key}}",
        "secrets:\n- {name: key, import: {session: team/keys, secret: key, session_hash: H}}",
    ),
    "SC5056": Code(
        "a secret lies in a key vault as it is",
        "With `decryption_key` only the CAS can read what the vault holds. Without it the vault, and whoever may read "
        "it, can.\n\nKeep the key.",
        "secrets:\n- {name: key, import_akv: {vault: shop.vault.azure.net}}",
        "secrets:\n- {name: key, import_akv: {vault: shop.vault.azure.net, decryption_key: $$SCONE::wrap$$}}",
    ),
    "SC5057": Code(
        "a certificate or token is valid for longer",
        "Who has stolen it can use it for longer; there is no other end to it than this one. The CAS renews "
        "certificates in time, so that a short time costs nothing.\n\nKeep days or weeks, not years.",
        _CERTIFICATE + "  valid_for: 10 years",
        _CERTIFICATE + "  valid_for: 30 days",
    ),
    "SC5058": Code(
        "a certificate is valid for more names",
        "A service that has it can be taken for one with the other name. A wildcard stands for all names of a "
        "domain.\n\n"
        "Give each service a certificate with the names that its clients use.",
        _CERTIFICATE + '  san: ["dns:*.example.org"]',
        _CERTIFICATE + '  san: ["dns:web.example.org"]',
    ),
    "SC5059": Code(
        "a certificate may be used at the other end of a connection",
        "Without `endpoint` a certificate serves clients and servers: who steals the one of a client can play the "
        "server.\n\nSay `endpoint: server` or `endpoint: client`.",
        _CERTIFICATE,
        _CERTIFICATE + "  endpoint: client",
    ),
}
