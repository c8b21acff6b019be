"""What a reviewer is told about a change of a session."""

from __future__ import annotations

import base64
import time
from collections import Counter

import pytest

from sconectl.key_hash import hash_of_spki
from sconectl.policy.diff.diff import GROUPS, as_text, differences, to_json
from sconectl.policy.reading import Session, parse_session
from sconectl.policy.serialized.canonical import read_back

H, G, T = "0a" * 32, "0b" * 32, "0c" * 16
KEY_HASH = "4hxbfBB9G1hyrLotptsrDejMXHWSUfknwG9x6q2VU8gLejZMU3"
PUB = "MCowBQYDK2VwAyEAVqEDFnJozBIhmsg2oFxHllme3fJxb22Hlmqu9pKTLkc="
SIGNER = f'{{signer: "-----BEGIN PUBLIC KEY-----\\n{PUB}\\n-----END PUBLIC KEY-----\\n"}}'
P, Q = "INTEL_QE_ID:" + "0c" * 16, "INTEL_QE_ID:" + "0d" * 16
SIGNER_HASH = hash_of_spki(base64.b64decode(PUB))
OTP = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
KEY = "{name: k, kind: private-key}"


def session(body: str, name: str = "a") -> Session:
    return parse_session(f'name: {name}\nversion: "0.3.12"\n{body}\n')


def changes(before: str, after: str) -> list[str]:
    """Return the changes from one body to another as lines, without what happens to values."""
    found = differences(session(before), session(after))
    signs = {"weakens": "!", "strengthens": "+", "neutral": "="}
    return [f"{signs[c.severity]} {c.subject}: {c.message}" for c in found if c.group != "values"]


def both(before: str, after: str, forth: list[str], back: list[str]) -> None:
    assert changes(before, after) == forth
    assert changes(after, before) == back


def service(body: str, rest: str = "") -> str:
    return f"services: [{{name: s, {body}}}]\n{rest}"


ONE = f"attestation: {{mrenclave: {H}}}"
BOTH = f"attestation: {{mrenclave: [{H}, {G}]}}"


# --- attestation ------------------------------------------------------------------------------------------------------


def test_another_enclave() -> None:
    both(
        service(ONE),
        service(BOTH),
        [f"! service s: may be run by the enclave {G}"],
        [f"+ service s: may no longer be run by the enclave {G}"],
    )


def test_a_program_that_takes_the_place_of_another_is_an_ordinary_update() -> None:
    other, third = service(f"attestation: {{mrenclave: {G}}}"), "0d" * 32
    both(
        service(ONE),
        other,
        [f"= service s: is run by the enclave {G} instead of the enclave {H}"],
        [f"= service s: is run by the enclave {H} instead of the enclave {G}"],
    )
    both(
        service(ONE),
        service(f"attestation: {{mrenclave: [{G}, {third}]}}"),
        [
            f"= service s: is run by the enclave {G} instead of the enclave {H}",
            f"! service s: may be run by the enclave {third}",
        ],
        [
            f"= service s: is run by the enclave {H} instead of the enclave {G}",
            f"+ service s: may no longer be run by the enclave {third}",
        ],
    )
    signed = f"attestation: {{mrenclave: {G}, signer: {{mrsigner: {third}, isvprodid: 1}}}}"
    assert changes(service(signed), service(ONE)) == [
        f"! service s: may be run by the enclave {H}",
        f"+ service s: may no longer be run by the enclave {G} signed by mrsigner {third}, isvprodid 1",
    ]


def test_another_way_to_write_the_same_enclaves_changes_nothing_for_them() -> None:
    turned, split = (f"[{{mrenclave: {one}}}, {{mrenclave: {other}}}]" for one, other in ((G, H), (H, G)))
    assert changes(service(BOTH), service(f"attestation: {turned}")) == [
        "= service s: is written differently, and allows the same"
    ]
    assert changes(service(BOTH), service(f"attestation: {split}")) == [
        "= service s: its attestation is written differently, and accepts the same"
    ]


def test_signers_of_enclaves() -> None:
    signer = f"signer: {{mrsigner: {G}, isvprodid: 3, isvsvn_min: 2}}"
    words = f"signed by mrsigner {G}, isvprodid 3, isvsvn_min 2"
    both(
        service(ONE),
        service(f"attestation: {{mrenclave: {H}, {signer}}}"),
        [f"+ service s: may no longer be run by the enclave {H}; still: the enclave {H} {words}"],
        [f"! service s: may be run by the enclave {H}; so far: the enclave {H} {words}"],
    )
    assert changes(service(ONE), service(f"attestation: [{{mrenclave: {H}}}, {{{signer}}}]")) == [
        f"! service s: may be run by any enclave {words}"
    ]


def test_enclaves_behind_references() -> None:
    secrets = "secrets: [{name: x, kind: config-fragment, value: {mrenclave: [a]}}, {name: y, kind: ascii}]"
    after = f"attestation: [{{mrenclave: {H}, signer: $$SCONE::x$$}}, $$SCONE::x$$]"
    assert changes(service(ONE, secrets), service(after, secrets)) == [
        "! service s: may be run by what the secret in $$SCONE::x$$ says",
        f"+ service s: may no longer be run by the enclave {H}; still: the enclave {H} signed by the key that the"
        " secret in $$SCONE::x$$ names",
    ]


def test_versions_of_signed_enclaves() -> None:
    def signed(body: str) -> str:
        return service(f"attestation: {{signer: {{mrsigner: {G}, isvprodid: 3{body}}}}}")

    words = f"any enclave signed by mrsigner {G}, isvprodid 3"
    both(
        signed(", isvsvn_min: 2"),
        signed(", isvsvn_min: 3"),
        [f"+ service s: may no longer be run by {words}, isvsvn_min 2; still: {words}, isvsvn_min 3"],
        [f"! service s: may be run by {words}, isvsvn_min 2; so far: {words}, isvsvn_min 3"],
    )
    both(
        signed(", isvsvn: 5"),
        signed(", isvsvn_min: 5, isvsvn_max: 6"),
        [f"! service s: may be run by {words}, isvsvn_min 5, isvsvn_max 6; so far: {words}, isvsvn 5"],
        [f"+ service s: may no longer be run by {words}, isvsvn_min 5, isvsvn_max 6; still: {words}, isvsvn 5"],
    )


def test_services_come_and_go() -> None:
    both(
        "",
        service(ONE),
        [f"! service s: may be run by the enclave {H}"],
        ["+ service s: is removed; no enclave may run it"],
    )
    assert changes(
        "security: {attestation: {mode: none}}", "security: {attestation: {mode: none}}\n" + service("pwd: /")
    ) == ["! service s: is new"]


def test_platforms() -> None:
    none, one, two = (service(f"{ONE}, platforms: [{text}]") for text in ("", f'"{P}"', f'"{P}", "{Q}"'))
    both(none, one, [f"+ service s: may run only on {P}"], ["! service s: may run on any platform"])
    both(one, two, [f"! service s: may run on {Q}"], [f"+ service s: may no longer run on {Q}"])


def test_one_time_passwords() -> None:
    own = service(f"{ONE}, one_time_password_shared_secret: {OTP}")
    both(
        service(ONE),
        own,
        ["+ service s: needs a one-time password"],
        ["! service s: needs no one-time password any more"],
    )
    of_session = f"security: {{attestation: {{one_time_password_shared_secret: {OTP}}}}}"
    both(
        "",
        of_session,
        ["+ one_time_password_shared_secret: is needed"],
        ["! one_time_password_shared_secret: is not needed any more"],
    )
    of_both = "= service s: the secret of its one-time passwords is another one"
    both(service(ONE, of_session), service(f"{ONE}, one_time_password_shared_secret: {OTP[::-1]}", of_session),
         [of_both], [of_both])  # fmt: skip
    assert OTP not in str(changes(own, service(f"{ONE}, one_time_password_shared_secret: {OTP[::-1]}")))


def security(body: str) -> str:
    return f"security: {{attestation: {{{body}}}}}"


@pytest.mark.parametrize(
    ("before", "after", "forth", "back"),
    [
        (
            "mode: hardware",
            "mode: none",
            ["! mode: was hardware, is none; any program may act as any service"],
            ["+ mode: was none, is hardware"],
        ),
        (
            "mode: hardware",
            "mode: simulation",
            ["! mode: was hardware, is simulation; no hardware vouches for a program"],
            ["+ mode: was simulation, is hardware"],
        ),
        (
            "mode: simulation",
            "mode: none",
            ["! mode: was simulation, is none; any program may act as any service"],
            ["+ mode: was none, is simulation; no hardware vouches for a program"],
        ),
        (
            "tolerate: [outdated-tcb]",
            "tolerate: [outdated-tcb, debug-mode]",
            ["! tolerate: debug-mode is tolerated"],
            ["+ tolerate: debug-mode is tolerated no longer"],
        ),
        (
            "tolerate: [outdated-tcb]",
            "tolerate: [outdated-tcb], ignore_advisories: [INTEL-SA-00615]",
            ["! ignore_advisories: INTEL-SA-00615 is ignored"],
            ["+ ignore_advisories: INTEL-SA-00615 is ignored no longer"],
        ),
        (
            "mode: hardware",
            f"mode: hardware, trusted_scone_qe_pubkeys: [{H}]",
            [f"! trusted_scone_qe_pubkeys: quotes by {H} are trusted"],
            [f"+ trusted_scone_qe_pubkeys: quotes by {H} are trusted no longer"],
        ),
        (
            "tolerate: [local-attestation-trust-cas-tcb]",
            "tolerate: [local-attestation-trust-cas-tcb], must_be_sgx_local: true",
            ["+ must_be_sgx_local: services run on the machine of the CAS only"],
            ["! must_be_sgx_local: services run on any machine"],
        ),
        (
            "mode: hardware, tolerate: [maa-managed-tcb]",
            "mode: maa, url: https://a.test, tolerate: [maa-managed-tcb]",
            ["= mode: was hardware, is maa", "! url: https://a.test attests enclaves"],
            ["= mode: was maa, is hardware", "+ url: https://a.test attests enclaves no longer"],
        ),
    ],
)
def test_how_strictly_enclaves_are_checked(before: str, after: str, forth: list[str], back: list[str]) -> None:
    both(security(before), security(after), forth, back)


def test_singleton_enclaves_and_access_tokens() -> None:
    both(
        "",
        "security: {singleton_enclaves: true}",
        ["+ singleton_enclaves: is required"],
        ["! singleton_enclaves: is not required any more"],
    )
    both(
        "security: {service_access_token: hunter2}",
        "security: {}",
        ["! service_access_token: is not needed any more"],
        ["+ service_access_token: is needed"],
    )
    found = changes("security: {service_access_token: hunter2}", "security: {service_access_token: hunter3}")
    assert found == ["= service_access_token: changed"]


def test_delegated_sections() -> None:
    secrets = "secrets: [{name: x, kind: config-fragment, value: {mode: none}}]"
    both(
        secrets,
        f"security: {{attestation: $$SCONE::x$$}}\n{secrets}",
        ["! security.attestation: is decided by the secret in $$SCONE::x$$"],
        ["= security.attestation: is not decided by a secret any more; look at it as a whole"],
    )
    both(
        secrets,
        f"security: $$SCONE::x$$\naccess_policy: $$SCONE::x$$\n{secrets}",
        [
            "! security: is decided by the secret in $$SCONE::x$$",
            "! access_policy: is decided by the secret in $$SCONE::x$$",
        ],
        [
            "= security: is not decided by a secret any more; look at it as a whole",
            "= access_policy: is not decided by a secret any more; look at it as a whole",
        ],
    )


def test_a_section_that_is_written_out_again_is_compared_with_the_default() -> None:
    secrets = "secrets: [{name: x, kind: config-fragment, value: {mode: none}}]"
    of_secret = f"security: $$SCONE::x$$\naccess_policy: $$SCONE::x$$\n{secrets}"
    weak = (
        "security: {attestation: {mode: none, tolerate: [debug-mode]}, singleton_enclaves: true}\n"
        f"access_policy: {{read: [CREATOR, {KEY_HASH}], update: [NONE], list_sessions: [CREATOR]}}\n{secrets}"
    )
    assert changes(of_secret, weak) == [
        "= security: is not decided by a secret any more; look at it as a whole",
        "! mode: was hardware, is none; any program may act as any service",
        "! tolerate: debug-mode is tolerated",
        "= access_policy: is not decided by a secret any more; look at it as a whole",
        f"! read: {KEY_HASH} may",
    ]
    attestation = f"security: {{attestation: $$SCONE::x$$}}\n{secrets}"
    assert changes(attestation, f"{security('mode: simulation')}\n{secrets}") == [
        "= security.attestation: is not decided by a secret any more; look at it as a whole",
        "! mode: was hardware, is simulation; no hardware vouches for a program",
    ]
    of_mode = f"{security('mode: $$SCONE::x$$')}\n{secrets}"
    both(
        of_mode,
        f"{security('mode: none')}\n{secrets}",
        ["! mode: was $$SCONE::x$$, is none; any program may act as any service"],
        ["! mode: was none, is $$SCONE::x$$"],
    )
    assert changes(of_mode, f"{security('mode: hardware')}\n{secrets}") == ["= mode: was $$SCONE::x$$, is hardware"]


# --- configuration ----------------------------------------------------------------------------------------------------


def test_what_a_service_gets_is_named_and_not_shown() -> None:
    before = service(f"{ONE}, command: [a, hunter2], pwd: /, environment: {{A: hunter2, B: x}}")
    after = service(f"{ONE}, command: [a, hunter3], pwd: /b, environment: {{A: hunter3, C: x}}")
    assert changes(before, after) == [
        "= service s: command: changed in word 1 (the program is word 0)",
        "= service s: variable A: changed",
        "= service s: variable B: removed",
        "= service s: variable C: added",
        "= service s: working directory: is /b",
    ]
    assert changes(before, service(f"{ONE}, command: a, pwd: /, environment: {{A: hunter2, B: x}}")) == [
        "= service s: command: has 1 words instead of 2"
    ]


def test_files() -> None:
    def image(files: str) -> str:
        return service(f"{ONE}, image_name: i", f"images: [{{name: i, injection_files: [{files}]}}]")

    both(
        image("{path: /a, content: hunter2}, {path: /b, content: x}"),
        image("{path: /a, content: hunter3}, {path: /c, content: x}"),
        ["= image i: file /a: changed", "= image i: file /b: removed", "= image i: file /c: added"],
        ["= image i: file /a: changed", "= image i: file /b: added", "= image i: file /c: removed"],
    )


# --- secrets ----------------------------------------------------------------------------------------------------------


def test_who_may_import_a_secret() -> None:
    both(
        "secrets: [{name: x, kind: ascii}]",
        f"secrets: [{{name: x, kind: ascii, export: [{{session: b, session_hash: {H}}}, {{namespace: c}},"
        f" {{cas_url: cas.test, cas_key: {KEY_HASH}, session: d}}], export_public: true}}]",
        [
            f"! secret x: session b with hash {H} may import it",
            "! secret x: every session in namespace c may import it",
            f"! secret x: session d of CAS cas.test ({KEY_HASH}) may import it",
            "! secret x: everybody may read it without a certificate",
        ],
        [
            f"+ secret x: session b with hash {H} may no longer import it",
            "+ secret x: every session in namespace c may no longer import it",
            f"+ secret x: session d of CAS cas.test ({KEY_HASH}) may no longer import it",
            "+ secret x: is no longer public",
        ],
    )


def test_an_export_to_fewer_is_no_new_one() -> None:
    def export(body: str) -> str:
        return f"secrets: [{{name: x, kind: ascii, export: [{body}]}}]"

    both(
        export("{namespace: c}"),
        export(f"{{session: c/d, session_hash: {H}}}, {{namespace: c/e}}"),
        [
            "+ secret x: every session in namespace c may no longer import it; still:"
            f" session c/d with hash {H}, every session in namespace c/e"
        ],
        [
            "! secret x: every session in namespace c may import it; so far:"
            f" session c/d with hash {H}, every session in namespace c/e"
        ],
    )
    both(
        export("{namespace: ..}"),
        export("{namespace: c/d}, {session: e}"),
        [
            "+ secret x: every session in namespace / may no longer import it; still: every session in namespace c/d,"
            " session e"
        ],
        ["! secret x: every session in namespace / may import it; so far: every session in namespace c/d, session e"],
    )
    both(
        export("{namespace: c}"),
        export("{namespace: c}, {session: c/d}"),
        ["= secret x: is written differently, and allows the same"],
        ["= secret x: is written differently, and allows the same"],
    )
    both(
        export(f"{{session: b, session_hash: {H}}}"),
        export(f"{{session: b, session_hash: {G}}}"),
        [
            f"! secret x: session b with hash {G} may import it",
            f"+ secret x: session b with hash {H} may no longer import it",
        ],
        [
            f"! secret x: session b with hash {H} may import it",
            f"+ secret x: session b with hash {G} may no longer import it",
        ],
    )


def test_which_service_gets_a_secret() -> None:
    secrets = f"secrets: [{{name: x, kind: binary}}, {{name: f, kind: binary, size: 32}}, {KEY}]"
    images = "images: [{name: i, injection_files: [{path: /f, content: $$SCONE::x$$}], provide_secrets: [k]}]\n"
    before = service(f"{ONE}, command: a, image_name: i", f"images: [{{name: i}}]\n{secrets}")
    after = service(
        f"{ONE}, command: a $$SCONE::x.hex$$, environment: {{V: $$SCONE::x:hex$$}}, image_name: i,"
        f" fspf_path: /p, fspf_key: $$SCONE::f$$, fspf_tag: {T}",
        images + secrets,
    )
    found = changes(before, after)
    assert "! secret x: service s gets it (command, variable V, file /f)" in found
    assert "! secret f: service s gets it (key of its file system)" in found
    assert "! secret k: service s gets it (provide_secrets)" in found
    assert "+ secret x: service s no longer gets it" in changes(after, before)
    moved = service(f"{ONE}, command: a, environment: {{V: $$SCONE::x:hex$$}}, image_name: i", images + secrets)
    assert "= secret x: service s gets it elsewhere (variable V, file /f)" in changes(after, moved)


def test_files_of_the_image_may_use_every_secret() -> None:
    with_file = service(f"{ONE}, image_name: i", "images: [{name: i, injection_files: [/t]}]\nsecrets: [" + KEY + "]")
    limited = with_file.replace("[/t]", "[/t], provide_secrets: []")
    both(
        with_file,
        limited,
        ["= image i: limit provide_secrets: added", "+ every secret of the session: service s no longer gets it"],
        [
            "= image i: limit provide_secrets: removed",
            "! every secret of the session: service s gets it (file /t of the image)",
        ],
    )


def test_who_gets_a_value_that_nobody_had_before() -> None:
    def given(secrets: str, name: str) -> str:
        return service(f"{ONE}, command: a $$SCONE::{name}$$", f"secrets: [{KEY}, {secrets}]")

    old = service(f"{ONE}, command: a", f"secrets: [{KEY}]")
    export = "export: [{session: b}], export_public: true"
    for secret in (f"{{name: x, kind: ascii, {export}}}", f"{{name: x, kind: private-key, {export}}}"):
        assert changes(old, given(secret, "x")) == [
            "= service s: command: has 2 words instead of 1",
            "= secret x: session b may import it",
            "= secret x: everybody may read it without a certificate",
            "= secret x: service s gets it (command)",
        ]
    for secret in (
        "{name: x, kind: ascii, value: known}",
        "{name: x, import: {session: b, secret: c}}",
        "{name: x, kind: x509, private_key: k}",  # with a key that was there before
    ):
        assert "! secret x: service s gets it (command)" in changes(old, given(secret, "x"))
    pair = "{name: x, kind: x509, private_key: l}, {name: l, kind: private-key}"
    assert "= secret x: service s gets it (command)" in changes(old, given(pair, "x"))


def test_a_volume_that_nobody_had_before() -> None:
    volume = "volumes: [{name: v, export: [{session: b}], files: authenticated-only}]"
    assert changes("", volume) == [
        "= volume v: is new",
        "= volume v: its files are authenticated-only",
        "= volume v: is given to session b (rollback_protected)",
    ]
    imported = "volumes: [{name: v, import: {session: b, volume: v}}]"
    assert changes("", imported) == ["= volume v: is new"]
    known = f"volumes: [{{name: v, fspf_key: {H}, fspf_tag: {T}, export: [{{session: b}}]}}]"
    assert "! volume v: is given to session b (rollback_protected)" in changes("", known)


def test_one_of_all_secrets_is_not_a_new_one() -> None:
    def image(body: str) -> str:
        return service(f"{ONE}, image_name: i", f"images: [{{name: i, injection_files: [/t]{body}}}]\nsecrets: [{KEY}]")

    both(
        image(""),
        image(", provide_secrets: [k]"),
        [
            "= image i: limit provide_secrets: added",
            "+ every secret of the session: service s no longer gets it",
            "= secret k: service s gets it elsewhere (provide_secrets)",
        ],
        [
            "= image i: limit provide_secrets: removed",
            "! every secret of the session: service s gets it (file /t of the image)",
            "= secret k: service s gets it as one of all secrets only",
        ],
    )


def test_who_gets_a_token_gets_the_secrets_in_its_claims() -> None:
    jwt = "kind: jwt, signer: k, alg: ES384, validity: {for: 1h}"
    key = "{name: k, kind: private-key, key_type: P-384}"
    secrets = (
        f"secrets: [{{name: x, kind: ascii}}, {{name: t, {jwt}, payload: {{c: TEXT}}, export: [{{session: b}}]}},"
        f" {{name: u, {jwt}, payload: {{d: $$SCONE::t$$}}, export_public: true}}, {key}]"
    )
    before = service(f"{ONE}, command: a $$SCONE::u$$", secrets.replace("TEXT", "of $$SCONE::x$$"))
    after = service(f"{ONE}, command: a $$SCONE::u$$", secrets.replace("TEXT", "$$SCONE::x$$"))
    both(
        before,
        after,
        [
            "! secret x: everybody gets it (claim c of t)",
            "! secret x: service s gets it (claim c of t)",
            "! secret x: session b gets it (claim c of t)",
            "= secret t: payload: changed",
        ],
        [
            "+ secret x: everybody no longer gets it",
            "+ secret x: service s no longer gets it",
            "+ secret x: session b no longer gets it",
            "= secret t: payload: changed",
        ],
    )
    fates = {c.subject: c.message for c in differences(session(before), session(after)) if c.group == "values"}
    assert fates["secret t"] == "made at use: and made differently from now on"
    assert fates["secret u"] == "made at use: whenever it is asked for"


def test_long_lists_take_no_longer_than_short_ones() -> None:
    def long(first: int) -> str:
        numbers = range(first, first + 3000)
        hashes = ", ".join(f"{number:064x}" for number in numbers)
        exports = ", ".join(f"{{session: b{number}}}" for number in numbers)
        secrets = f"secrets: [{{name: x, kind: ascii, export: [{exports}]}}]"
        return service(f"attestation: {{mrenclave: [{hashes}]}}", secrets)

    old, new = session(long(0)), session(long(1500))
    begin = time.process_time()
    found = differences(old, new)
    assert time.process_time() - begin < 5
    assert Counter(change.severity for change in found if change.group != "values") == {
        "neutral": 1500,
        "weakens": 1500,
        "strengthens": 1500,
    }


def test_tokens_in_tokens_come_to_an_end() -> None:
    jwt = "kind: jwt, signer: k, alg: ES384, validity: {for: 1h}"
    chain = ", ".join(f"{{name: t{n}, {jwt}, payload: {{c: $$SCONE::t{(n + 1) % 1500}$$}}}}" for n in range(1500))
    secrets = f"secrets: [{chain}, {{name: k, kind: private-key, key_type: P-384}}]"
    before, after = service(f"{ONE}, command: a", secrets), service(f"{ONE}, command: a $$SCONE::t0$$", secrets)
    assert "! secret t1499: service s gets it (claim c of t1498)" in changes(before, after)


FATES = [
    (
        "{name: x, kind: ascii}",
        "{name: x, kind: ascii}",
        "kept: kind and size are the same",
    ),
    (
        "{name: x, kind: ascii}",
        "{name: x, kind: ascii, size: 21}",
        "drawn anew: its size was 20, and is 21",
    ),
    (
        "{name: x, kind: ascii}",
        "{name: x, kind: binary}",
        "drawn anew: its kind was ascii, and is binary",
    ),
    (
        "{name: x, kind: ascii}",
        "{name: x, kind: ascii, value: a}",
        "replaced: the session gives another value",
    ),
    (
        "{name: x, kind: ascii, value: a}",
        "{name: x, kind: ascii, value: a}",
        "kept: the session gives the same value",
    ),
    (
        "{name: x, kind: ascii, value: a}",
        "{name: x, kind: ascii, value: b}",
        "replaced: the session gives another value",
    ),
    (
        "{name: x, kind: ascii, value: a}",
        "{name: x, kind: ascii}",
        "drawn anew: the session gave its value, and gives none any more",
    ),
    (
        "{name: y, kind: ascii}",
        "{name: x, kind: ascii}",
        "new: the CAS draws it",
    ),
    (
        "{name: x, kind: private-key}",
        "{name: x, kind: private-key}",
        "drawn anew: migrate: true is missing in the old and the new version of the session",
    ),
    (
        "{name: x, kind: private-key}",
        "{name: x, kind: private-key, migrate: true}",
        "drawn anew: migrate: true is missing in the old version of the session",
    ),
    (
        "{name: x, kind: private-key, migrate: true}",
        "{name: x, kind: private-key, migrate: true}",
        "kept: both versions say migrate: true",
    ),
    (
        "{name: x, kind: private-key, migrate: true}",
        "{name: x, kind: private-key, migrate: true, key_type: P-384}",
        "drawn anew: its key_type was P-256, and is P-384",
    ),
    (
        "{name: x, kind: pgp-key}",
        "{name: x, kind: pgp-key}",
        "kept: its kind is the same",
    ),
    (
        "{name: x, kind: x509, private_key: k}, {name: k, kind: private-key}",
        "{name: x, kind: x509, private_key: k}, {name: k, kind: private-key}",
        "issued anew: each update issues it, for another private key",
    ),
    (
        "{name: x, kind: public-key, private_key: k}, {name: k, kind: private-key}",
        "{name: x, kind: public-key, private_key: k}, {name: k, kind: private-key}",
        "issued anew: each update issues it, for another private key",
    ),
    (
        "{name: x, kind: public-key, private_key: m}, {name: m, kind: private-key, migrate: true}",
        "{name: x, kind: public-key, private_key: m}, {name: m, kind: private-key, migrate: true}",
        "kept: its private key stays",
    ),
    (
        "{name: x, import: {session: b, secret: c}}",
        "{name: x, import: {session: b, secret: c}}",
        "imported: still from session b (secret c)",
    ),
    (
        "{name: x, import: {session: b, secret: c}}",
        "{name: x, import: {session: b, secret: d}}",
        "replaced: imported from session b (secret d) from now on",
    ),
    (
        "{name: x, kind: x509, private_key: m}, {name: m, kind: private-key, migrate: true}",
        "{name: x, kind: x509, private_key: m}, {name: m, kind: private-key, migrate: true}",
        "issued anew: each update issues it, for the same private key",
    ),
    (
        "{name: x, kind: ascii}",
        "{name: x, import: {session: b, secret: c}}",
        "replaced: imported from session b (secret c) from now on",
    ),
]


@pytest.mark.parametrize(("before", "after", "fate"), FATES)
def test_what_becomes_of_values(before: str, after: str, fate: str) -> None:
    old = session(f"secrets: [{before}]")
    new = session(f"secrets: [{after}]\nservices: [{{name: s, {ONE}}}]")  # something else changed, too
    found = {c.subject: c.message for c in differences(old, new) if c.group == "values"}
    assert found["secret x"] == fate
    assert ("secret y" in found) == ("name: y" in before)


def test_values_are_never_shown() -> None:
    old = session("secrets: [{name: x, kind: ascii, value: hunter2}]")
    new = session("secrets: [{name: x, kind: ascii, value: hunter3}, {name: y, kind: binary, value: 0a0b0c0d}]")
    text = as_text(differences(old, new)) + str(to_json(differences(None, new)))
    assert "hunter" not in text and "0a0b0c0d" not in text


# --- access, volumes, the rest ----------------------------------------------------------------------------------------


def policy(body: str) -> str:
    return f"access_policy: {{{body}}}"


def test_who_may_read_and_change_the_session() -> None:
    both(
        policy("read: [CREATOR]"),
        policy(f"read: [CREATOR, {KEY_HASH}], list_sessions: [CREATOR]"),
        [f"! read: {KEY_HASH} may"],
        [f"+ read: {KEY_HASH} may no longer"],
    )
    both(
        policy("read: [NONE], list_sessions: [NONE]"),
        policy("read: [ANY], list_sessions: [NONE]"),
        ["! read: everybody may"],
        ["+ read: no longer everybody, only nobody"],
    )
    both(
        policy("update: [CREATOR], create_sessions: [CREATOR]"),
        policy(f"update: {{require-at-least-1: [CREATOR, {{require-all: [{SIGNER}]}}]}}, create_sessions: [CREATOR]"),
        [f"! update: at least 1 of (CREATOR, all of (the signer {SIGNER_HASH})) may; so far: CREATOR"],
        [f"+ update: at least 1 of (CREATOR, all of (the signer {SIGNER_HASH})) may no longer; still: CREATOR"],
    )


def test_who_has_to_agree() -> None:
    def update(least: int, *keys: str) -> str:
        return policy(f"update: {{require-at-least-{least}: [{', '.join(keys)}]}}, create_sessions: [CREATOR]")

    three = f"(CREATOR, {KEY_HASH}, the signer {SIGNER_HASH})"
    both(
        update(2, "CREATOR", KEY_HASH, SIGNER),
        update(1, "CREATOR", KEY_HASH, SIGNER),
        [f"! update: at least 1 of {three} may; so far: at least 2 of {three}"],
        [f"+ update: at least 1 of {three} may no longer; still: at least 2 of {three}"],
    )
    both(  # one more who may agree, and one more who has to
        update(1, "CREATOR", KEY_HASH),
        update(2, "CREATOR", KEY_HASH, SIGNER),
        [f"+ update: at least 1 of (CREATOR, {KEY_HASH}) may no longer; still: at least 2 of {three}"],
        [f"! update: at least 1 of (CREATOR, {KEY_HASH}) may; so far: at least 2 of {three}"],
    )
    both(
        update(1, "CREATOR", KEY_HASH),
        update(1, KEY_HASH, "CREATOR"),
        ["= update: is written differently, and allows the same"],
        ["= update: is written differently, and allows the same"],
    )


def test_volumes() -> None:
    both(
        "volumes: [{name: v}]",
        f"volumes: [{{name: v, files: authenticated-only, fspf_key: {H}, fspf_tag: {T},"
        " export: [{to: {session: b}, update_policy: ephemeral, volume_alias: w}]}]",
        [
            "! volume v: fspf_key: is written in the session",
            "= volume v: fspf_tag: changed",
            "! volume v: its files are authenticated-only",
            "! volume v: is given to session b (ephemeral, as w)",
        ],
        [
            "+ volume v: fspf_key: changed",
            "= volume v: fspf_tag: changed",
            "+ volume v: its files are encrypted",
            "+ volume v: is no longer given to session b (ephemeral, as w)",
        ],
    )
    both(
        "",
        "volumes: [{name: v}]",
        ["= volume v: is new"],
        ["= volume v: is removed; its key is lost unless it was given"],
    )


def test_mounts_and_file_systems() -> None:
    def image(mounts: str) -> str:
        return f"volumes: [{{name: v}}, {{name: w}}]\nimages: [{{name: i, volumes: [{mounts}]}}]"

    both(
        image("{name: v, path: /v}, {name: v, path: /o}"),
        image("{name: w, path: /v, update_policy: no_rollback_protection}"),
        [
            "= image i: mount /o: removed",
            "= image i: mount /v: was volume v, is volume w",
            "! image i: mount /v: was rollback_protected, is no_rollback_protection",
        ],
        [
            "= image i: mount /o: added",
            "= image i: mount /v: was volume w, is volume v",
            "+ image i: mount /v: was no_rollback_protection, is rollback_protected",
        ],
    )
    fspf = service(f"{ONE}, fspf_path: /f, fspf_key: {H}, fspf_tag: {T}")
    assert changes(
        fspf, fspf.replace("/f,", "/f, fspf_update_policy: no_rollback_protection,").replace(T, "0d" * 16)
    ) == [
        "= service s: fspf_tag: changed",
        "! service s: fspf_update_policy: was rollback_protected_reinitializable, is no_rollback_protection",
    ]


def test_the_head() -> None:
    found = differences(session(""), parse_session(f'name: b\nversion: "0.3.12"\nsalt: {T}\n'))
    assert [change.message for change in found] == [
        "was a, is b",
        "anybody may ask for the hash of the session from now on",
    ]


def test_a_new_session_weakens_nothing_and_says_everything() -> None:
    new = session(f"services: [{{name: s, {ONE}, command: a $$SCONE::x$$}}]\nsecrets: [{{name: x, kind: ascii}}]")
    assert as_text(differences(None, new)) == (
        "which enclaves are trusted:\n"
        f"    service s: may be run by the enclave {H}\n"
        "who may have the secrets:\n"
        "    secret x: service s gets it (command)\n"
        "values of secrets after the update:\n"
        "    secret x: new: the CAS draws it\n"
        "who may read and change the session:\n"
        "    read: CREATOR may\n"
        "    update: CREATOR may\n"
        "    create_sessions: CREATOR may\n"
        "    list_sessions: CREATOR may\n"
    )
    delegated = session(
        "access_policy: $$SCONE::x$$\nsecrets: [{name: x, kind: config-fragment, value: {read: [ANY]}}]"
    )
    assert [(c.severity, c.subject) for c in differences(None, delegated) if c.group == "access"] == [
        ("neutral", "access_policy")
    ]
    public = differences(None, session(policy("read: [ANY]")))
    assert "everybody may" in [c.message for c in public if c.subject == "read"]


def test_nothing_changes_but_spelling_predecessor_and_creator() -> None:
    old = session(service(BOTH))
    assert differences(old, parse_session(read_back(old))) == []
    assert differences(old, old.model_copy(update={"predecessor": H})) == []


def test_plain_values() -> None:
    found = differences(session(""), session("security: {attestation: {mode: none}}"))
    assert to_json(found) == [
        {
            "group": "attestation",
            "severity": "weakens",
            "code": "SC5001",
            "subject": "mode",
            "message": "was hardware, is none; any program may act as any service",
        }
    ]
    assert {change.group for change in found} <= set(GROUPS)
