"""Sessions that cost more than they look: many, large, deep, multiplying, and wrong in many ways.

In: a source of randomness. Out: bytes of a document whose name is `NAME`, to be replaced. Nothing here speaks to a CAS.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

NAME = b"@NAME@"
MEBIBYTE = 1 << 20
MEASUREMENT = "d0" * 32
"""What the hostile clients' own sessions accept."""

Make = Callable[[random.Random], bytes]


def session(**parts: Any) -> bytes:
    security = {"attestation": {"mode": "simulation"}}
    return json.dumps({"name": NAME.decode(), "version": "0.3.12", "security": security, **parts}).encode()


def service(**parts: Any) -> dict[str, Any]:
    return {"name": "s", "command": "run", "pwd": "/", "attestation": {"mrenclave": MEASUREMENT}, **parts}


def text(body: str) -> bytes:
    return b'name: %s\nversion: "0.3.12"\nsecurity: {attestation: {mode: simulation}}\n%s' % (NAME, body.encode())


def near(rng: random.Random) -> int:
    """Return a size in bytes near a limit that a server may well have."""
    return int(rng.choice((16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, MEBIBYTE)) * rng.uniform(0.85, 1.02))


def filled(entry: Callable[[int], str], size: int) -> str:
    """Return as many entries as fit into `size` bytes."""
    lines, length, number = [], 0, 0
    while length < size:
        lines.append(entry(number))
        length += len(lines[-1])
        number += 1
    return "".join(lines)


# Memory: many small things become large objects (A3).


def many_secrets(rng: random.Random) -> bytes:
    shape = rng.choice(
        ("{name: a%d, kind: ascii, size: 1}", "{name: a%d, kind: binary, size: 1}", "{name: a%d, kind: ascii}",
         "{name: a%d, kind: ascii, value: x}", "{name: a%d, kind: config-fragment, value: [1]}",
         "{name: a%d, kind: ascii, value: x, export_public: true}",
         "{name: a%d, import: {session: x, secret: y}}", "{name: a%d, kind: ascii, size: 65536}")
    )  # fmt: skip
    return text("secrets:\n" + filled(lambda number: "  - " + shape % number + "\n", near(rng)))


def many_other_things(rng: random.Random) -> bytes:
    section, shape = rng.choice(
        (
            ("services", '{name: s%d, command: r, attestation: {mrenclave: "' + MEASUREMENT + '"}}'),
            ("volumes", "{name: v%d}"),
            ("images", "{name: i%d, injection_files: [{path: /f, content: x}]}"),
        )
    )
    return text(f"{section}:\n" + filled(lambda number: "  - " + shape % number + "\n", near(rng)))


def many_variables(rng: random.Random) -> bytes:
    size = near(rng)
    variables = {f"V{number}": "$$SCONE::a$$" for number in range(size // 24)}
    return session(services=[service(environment=variables)], secrets=[{"name": "a", "kind": "ascii"}])


def many_exports(rng: random.Random) -> bytes:
    size = near(rng)
    return session(secrets=[{"name": "a", "kind": "ascii", "export": [f"/session=s{n}" for n in range(size // 16)]}])


def many_principals(rng: random.Random) -> bytes:
    depth = rng.choice((10, 100, 1000, 20_000))
    rule = '{"require-at-least-1": ["CREATOR", ' * depth + '"CREATOR"' + "]}" * depth
    return session(access_policy={"read": ["CREATOR"], "update": "RULE"}).replace(b'"RULE"', rule.encode())


def large_and_valid(rng: random.Random) -> bytes:
    size = max(1000, near(rng) - 500)
    return session(secrets=large_secrets(size, export_public=True), access_policy={"read": ["ANY"]})


def large_secrets(size: int, **more: Any) -> list[dict[str, Any]]:
    """Return secrets with `size` characters together: one may not have more than 512 KiB."""
    parts = [min(500_000, size - start) for start in range(0, size, 500_000)]
    return [{"name": chr(97 + n), "kind": "ascii", "value": "v" * part, **more} for n, part in enumerate(parts)]


# Time: keys, certificates, tokens (A6).


def many_keys(rng: random.Random) -> bytes:
    kind = rng.choice(("RSA-3072", "RSA-2048", "RSA-3072", "P-384", "Ed25519", "pgp"))
    number = rng.choice((2, 8, 40, 40, 400, 4000))
    key = {"kind": "pgp-key"} if kind == "pgp" else {"kind": "private-key", "key_type": kind}
    return session(secrets=[{"name": f"k{index}", **key} for index in range(number)])


def many_certificates(rng: random.Random) -> bytes:
    depth = rng.choice((3, 30, 300, 1500))
    secrets: list[dict[str, Any]] = [
        {"name": "k", "kind": "private-key", "key_type": rng.choice(("P-256", "RSA-2048"))}
    ]
    for number in range(depth):
        issuer = {"issuer": f"c{number - 1}"} if number and rng.random() < 0.9 else {}
        secrets.append({"name": f"c{number}", "kind": "x509-ca", "private_key": "k", **issuer})
    secrets.append({"name": "leaf", "kind": "x509", "private_key": "k", "issuer": f"c{depth - 1}",
                    "san": [f"dns:h{index}.test" for index in range(rng.choice((1, 2000)))]})  # fmt: skip
    file = "$$SCONE::leaf:chain$$" * rng.choice((1, 50))
    return with_file(secrets, file)


def many_explicit_keys(rng: random.Random) -> bytes:
    number = rng.choice((5, 60, 280))
    return session(secrets=[{"name": f"k{n}", "kind": "private-key", "value": rsa_key()} for n in range(number)])


@cache
def rsa_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=4096)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def tokens_in_tokens(rng: random.Random) -> bytes:
    depth, width = rng.choice(((2, 4), (6, 10), (12, 12), (30, 2)))
    secrets: list[dict[str, Any]] = [
        {"name": "k", "kind": "private-key", "key_type": "P-384"},
        {"name": "t0", "kind": "ascii", "value": "x" * rng.choice((10, 10_000))},
    ]
    for level in range(1, depth + 1):
        claims = {f"c{number}": f"$$SCONE::t{level - 1}$$" for number in range(width)}
        token = {"name": f"t{level}", "kind": "jwt", "signer": "k", "alg": "ES384", "validity": {"for": "1h"}}
        secrets.append(token | {"payload": claims})
    return session(services=[service(environment={"T": f"$$SCONE::t{depth}$$"})], secrets=secrets)


def many_tokens(rng: random.Random) -> bytes:
    number = rng.choice((20, 500, 5000))
    token = {"kind": "jwt", "signer": "k", "alg": "ES384", "validity": {"for": "1h"}, "payload": {"a": "b"}}
    secrets = [{"name": "k", "kind": "private-key", "key_type": "P-384"}]
    secrets += [{"name": f"t{index}", **token} for index in range(number)]  # type: ignore[dict-item]
    variables = {f"T{index}": f"$$SCONE::t{index}$$" for index in range(number)}
    return session(services=[service(environment=variables)], secrets=secrets)


# Size: what is filled in is larger than what was sent (A7).


def with_file(secrets: list[dict[str, Any]], content: str) -> bytes:
    images = [{"name": "i", "injection_files": [{"path": "/f", "content": content}]}]
    return session(services=[service(image_name="i")], images=images, secrets=secrets)


def multiplying(rng: random.Random) -> bytes:
    size = rng.choice((1000, 40_000, 200_000, 400_000))
    times = min(rng.choice((10, 250, 5000, 20_000)), (900_000 - size) // 24)
    # Characters that JSON writes as six make it six times as long once more.
    value, place = rng.choice((("v" * size, "$$SCONE::a$$"), ("é" * (size // 2), "$$SCONE::a|escape(json)$$"),
                               ('"' * size, "$$SCONE::a|escape(json)$$")))  # fmt: skip
    secrets = [{"name": "a", "kind": "ascii", "value": value}]
    match rng.randrange(3):
        case 0:
            return with_file(secrets, place * times)
        case 1:
            return session(services=[service(command=["run", *[place] * times])], secrets=secrets)
        case _:
            variables = {f"V{number}": place for number in range(times)}
            return session(services=[service(environment=variables)], secrets=secrets)


def multiplying_chains(rng: random.Random) -> bytes:
    secrets = [{"name": "k", "kind": "private-key"}, {"name": "c", "kind": "x509-ca", "private_key": "k"}]
    place = rng.choice(("$$SCONE::c:privatekey$$", "$$SCONE::c:chain$$", "$$SCONE::k$$", "$$SCONE::c$$"))
    return with_file(secrets, place * rng.choice((10, 1000, 30_000)))


def multiplying_rules(rng: random.Random) -> bytes:
    hashes = [f"{number:064x}" for number in range(rng.choice((10, 5000)))]
    places = ["$$SCONE::m$$"] * rng.choice((10, 20_000))
    fragment = {"name": "m", "kind": "config-fragment", "value": hashes}
    return session(services=[service(attestation={"mrenclave": places})], secrets=[fragment])


VALID: tuple[Make, ...] = (
    many_secrets, many_other_things, many_variables, many_exports, many_principals, large_and_valid, many_keys,
    many_certificates, many_explicit_keys, tokens_in_tokens, many_tokens, multiplying, multiplying_chains,
    multiplying_rules,
)  # fmt: skip
ATTESTABLE: tuple[Make, ...] = (
    many_variables, tokens_in_tokens, many_tokens, multiplying, multiplying_chains, multiplying_rules,
    many_certificates,
)  # fmt: skip


# Faults: huge, deep, and with a finding for every few bytes (A8).


def invalid(rng: random.Random) -> bytes:
    size = near(rng)
    return rng.choice(_INVALID)(rng, size)


def _unknown_keys(rng: random.Random, size: int) -> bytes:
    return text(filled(lambda number: f"k{number}: 1\n", size))


def _faulty_entries(rng: random.Random, size: int) -> bytes:
    section = rng.choice(("secrets", "services", "volumes", "images"))
    entry = rng.choice(("- {}\n", "- {name: ''}\n", "- {name: a, kind: x, size: -1}\n", "- [a]\n", "- {name: a}\n"))
    return text(f"{section}:\n" + filled(lambda _: entry, size))


def _undefined(rng: random.Random, size: int) -> bytes:
    variables = {f"V{number}": f"$$SCONE::u{number}$$" for number in range(size // 30)}
    return session(services=[service(environment=variables)])


def _faulty_places(rng: random.Random, size: int) -> bytes:
    place = rng.choice(("$$SCONE::", "$$SCONE::a:", "$$SCONE::a:hex:hex$$", "$$", "$", "$$SCONE::a|escape("))
    return session(services=[service(command=["r", place * (size // len(place))])])


def _aliases(rng: random.Random, size: int) -> bytes:
    width = rng.choice((2, 10, 100))
    levels = [f"  a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * width)}]\n" for n in range(rng.choice((5, 25, 1000)))]
    return text("x:\n  a0: &a0 [lol]\n" + "".join(levels)[:size])


def _deep(rng: random.Random, size: int) -> bytes:
    start, end = rng.choice((("[", "]"), ("{a: ", "}"), ("- ", ""), ("? ", ""), ("[[", ""), ('{"a":', "}")))
    depth = rng.choice((60, 500, size // 8))
    return text("x:\n  " + start * depth + end * depth)


def _indented(rng: random.Random, size: int) -> bytes:
    lines, length, depth = [], 0, 0
    while length < size:
        lines.append(" " * depth + "a:\n")
        length += depth + 3
        depth += 1
    return text("".join(lines))


def _long_words(rng: random.Random, size: int) -> bytes:
    word = rng.choice(("a", "/", "ü", "a/", "%41", "\\u0000", "1", "0x", "é̀"))
    key = rng.choice(("name: {}", "{}: 1", "x: {}", "version: {}", "secrets: [{{name: {}, kind: ascii}}]",
                      "access_policy: {{read: [{}]}}", "predecessor: {}", "x: &{} 1", "x: !{} 1"))  # fmt: skip
    return text(key.format(word * (size // len(word.encode()))) + "\n")


def _bytes(rng: random.Random, size: int) -> bytes:
    start = rng.choice((b"", b"name: ", b"{", b"\xff\xfe", b'{"session": "', b'{"encrypted_session": "'))
    return start + rng.choice((b"\0", b"\xff", b"\t", b"[", b"#", b"--- \n", b'"', b"'", b"|\n", b"&", b"*")) * size


def _durations(rng: random.Random, size: int) -> bytes:
    certificate = {"name": "c", "kind": "x509", "private_key": "k", "valid_for": "1s " * (size // 3)}
    return session(secrets=[{"name": "k", "kind": "private-key"}, certificate])


def _circles(rng: random.Random, size: int) -> bytes:
    number = size // 80
    secrets: list[dict[str, Any]] = [{"name": "k", "kind": "private-key"}]
    secrets += [{"name": f"c{n}", "kind": "x509-ca", "private_key": "k", "issuer": f"c{(n + 1) % number}"}
                for n in range(number)]  # fmt: skip
    return session(secrets=secrets)


def _signed(rng: random.Random, size: int) -> bytes:
    entry = {"signer": rng.choice(("x", "-----BEGIN PUBLIC KEY-----\n")), "signature": "00" * 64}
    number = rng.choice((1, 64, 65, size // 200))
    return json.dumps({"session": "a: 1\n" * (size // 10), "signatures": [entry] * number}).encode()


def _encrypted(rng: random.Random, size: int) -> bytes:
    return json.dumps({"encrypted_session": "A" * (size // 4 * 4), "encryption_key": "ab" * 32}).encode()


def _merged(rng: random.Random, size: int) -> bytes:
    return text("b: &b {x: 1}\n" + filled(lambda number: f"m{number}: {{<<: *b, y: 2}}\n", size))


_INVALID: tuple[Callable[[random.Random, int], bytes], ...] = (
    _unknown_keys, _unknown_keys, _faulty_entries, _faulty_entries, _undefined, _faulty_places, _aliases, _deep,
    _indented, _long_words, _bytes, _durations, _circles, _signed, _encrypted, _merged,
)  # fmt: skip
