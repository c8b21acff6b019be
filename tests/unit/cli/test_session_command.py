"""`sconectl session`: checking, uploading, reading and comparing sessions as a user does."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from sconectl.policy.reading import parse_session

from .conftest import Outcome, Run

H, G = "0a" * 32, "0b" * 32
PLAIN = f"""\
name: $NAME
version: "0.3.10"
security: {{attestation: {{mode: simulation}}}}
services:
  - {{name: web, attestation: {{mrenclave: {H}}}, command: web --key $$SCONE::token:hex$$, pwd: /}}
secrets:
  - {{name: token, kind: binary}}
"""


@pytest.fixture
def file(project: Path) -> Path:
    path = project / "s.yaml"
    path.write_text(PLAIN)
    return path


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> object:
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content), isatty=lambda: False))

    return give


def ok(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return outcome.out


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_prints_the_session_in_normal_form(run: Run, file: Path) -> None:
    done = run("session", "check", file, "-e", "NAME=shop")
    assert done.code == 0, done.err
    assert done.err == ""
    session = parse_session(done.out)
    assert (session.name, session.predecessor) == ("shop", None)
    assert "predecessor: null" in done.out
    assert ok(run("session", "check", file, "-e", "NAME=shop", "-o", "out.yaml")) == ""
    assert Path("out.yaml").read_text() == done.out
    assert Path("out.yaml").stat().st_mode & 0o077 == 0


def test_check_finds_every_fault_at_its_place(run: Run, file: Path) -> None:
    file.write_text(PLAIN.replace(H, "$HASH").replace("kind: binary", "kind: password"))
    done = run("session", "check", file, "-e", f"HASH={H[2:]}")
    assert done.code == 3
    assert done.out == ""
    assert "s.yaml:1:7: error SC1003: name: the variable $NAME has no value" in done.err
    assert "s.yaml:5:42: error SC3042: services[0].attestation.mrenclave: expected 64 hex digits" in done.err
    assert "s.yaml:7:25: error SC3051: secrets[0].kind: expected one of" in done.err
    assert "error: 3 errors found" in done.err


def test_check_for_programs(run: Run, file: Path) -> None:
    done = run("session", "check", file, "--output", "json", "-e", "NAME=a b")
    assert (done.code, done.err) == (3, "")
    (finding,) = json.loads(done.out)["findings"]
    assert finding.keys() == {"severity", "code", "file", "line", "column", "path", "message", "hint"}
    assert (finding["severity"], finding["code"], finding["path"]) == ("error", "SC3012", "name")
    assert (finding["file"], finding["line"], finding["column"]) == (str(file), 1, 7)
    good = run("session", "check", file, "--output", "json", "-e", "NAME=a")
    assert (good.code, json.loads(good.out)) == (0, {"findings": []})


@pytest.mark.parametrize(("text", "line"), [("a: [", 2), ("- a", 1), ('{"session": 5, "signatures": []}', 1)])
def test_what_is_no_session_is_a_finding_too(run: Run, file: Path, text: str, line: int) -> None:
    file.write_text(text)
    done = run("session", "check", file, "--output", "json")
    assert done.code == 3
    assert json.loads(done.out)["findings"][0]["line"] == line


def test_warnings_can_be_forbidden(run: Run, file: Path) -> None:
    file.write_text(PLAIN.replace("0.3.10", "0.3.4"))
    words = ("session", "check", file, "-n", "shop", "-e", "NAME=x")
    allowed = run(*words)
    assert allowed.code == 0
    assert "warning SC3022" in allowed.err
    for more in ((), ("--output", "json")):
        done = run(*words, "--fail-on-warning", *more)
        assert done.code == 3
        assert "SC3022" in done.err + done.out
    assert run(*words, "--output", "json").code == 0


# --- filling in -------------------------------------------------------------------------------------------------------


def test_variables(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAME", "of-environment")
    assert run("session", "check", file).code == 3
    assert "of-environment" in ok(run("session", "check", file, "--use-env"))
    assert "name: given" in ok(run("session", "check", file, "--use-env", "-e", "NAME=given"))
    assert "name: chosen" in ok(run("session", "check", file, "--use-env", "-n", "chosen"))


def test_variables_stand_in_values_only(run: Run, project: Path) -> None:
    text = (
        'name: a # $COMMENT\nversion: "0.3.10"\nsecurity: {attestation: {mode: none}}\nservices:\n'
        "  - {name: s, environment: {$KEY: x, A: '$V-$V', B: $$V, C: '${V}', D: '$1 $', E: $$SCONE::V$$$$SCONE::V$$}}\n"
        "secrets: [{name: V, kind: ascii}]\npredecessor: $NULL\n"
    )
    (project / "t.yaml").write_text(text)
    written = ok(run("session", "check", "t.yaml", "-e", "V=$V: [x", "-e", "NULL=~"))
    session = parse_session(written)
    assert session.services[0].environment == {
        "$KEY": "x", "A": "$$V: [x-$$V: [x", "B": "$$V", "C": "${V}", "D": "$1 $", "E": "$$SCONE::V$$$$SCONE::V$$",
    }  # fmt: skip
    (project / "written.yaml").write_text(written)
    assert ok(run("session", "check", "written.yaml")) == written
    assert session.predecessor is None


@pytest.mark.parametrize("place", ["value: $KEY", 'value: "a-$KEY"', "value: $KEY$KEY", "private_key: $KEY"])
@pytest.mark.parametrize("form", ["-e", "--use-env", "~"])
def test_nothing_that_is_filled_in_empties_a_secret(
    run: Run, project: Path, monkeypatch: pytest.MonkeyPatch, place: str, form: str
) -> None:
    (project / "t.yaml").write_text(f'name: a\nversion: "0.3.10"\nsecrets:\n  - {{name: s, kind: ascii, {place}}}\n')
    monkeypatch.setenv("KEY", "")
    words = {"-e": ("-e", "KEY="), "--use-env": ("--use-env",), "~": ("-e", "KEY=~")}[form]
    for command in ("check", "create"):
        done = run("session", command, "t.yaml", *words)
        lost = form != "~" or place.endswith(": $KEY")
        if lost:
            assert (done.code, "t.yaml:4:" in done.err, "SC1003" in done.err) == (3, True, True), done.err


def test_one_dollar_changes_nothing_but_itself(run: Run, project: Path) -> None:
    """Truth values and numbers stay what they are when another value needs `$$`, and texts that look like them, too."""
    text = (
        'name: a\nversion: "0.3.10"\nsecurity: {attestation: {mode: none}}\nsecrets:\n'
        "  - {name: s, kind: ascii, size: 7, export_public: true}\n"
        '  - {name: t, kind: ascii, value: "true"}\n  - {name: u, kind: ascii, value: "0123"}\n'
        "  - {name: v, kind: x509-ca, private_key: k}\n  - {name: k, kind: private-key, migrate: true}\n"
        "  - {name: d, kind: ascii, value: DOLLAR}\n"
        'services:\n  - {name: s, environment: {A: "1.10", B: 1.10, C: 7, D: "7", E: "yes", F: "-0"}}\n'
    )
    (project / "without.yaml").write_text(text.replace("DOLLAR", "xNAME"))
    (project / "with.yaml").write_text(text.replace("DOLLAR", "x$$NAME"))
    without, with_ = (ok(run("session", "check", name)) for name in ("without.yaml", "with.yaml"))
    assert "export_public: true\n" in without and "size: 7\n" in without
    assert with_.replace('"x$$NAME"', "xNAME") == without
    (project / "again.yaml").write_text(with_)
    assert ok(run("session", "check", "again.yaml")) == with_


def test_tags_survive_filling_in(run: Run, project: Path) -> None:
    (project / "t.yaml").write_text('name: $N\nversion: "0.3.10"\nsecret_config:\n  store_in: !cas\n')
    assert "name: a" in ok(run("session", "check", "t.yaml", "-e", "N=a"))
    (project / "t.yaml").write_text(
        'name: $N\nversion: "0.3.10"\nsecret_config:\n  store_in: !akv\n    token: $$SCONE::t$$\n    vault: https://v.test\n'
        "secrets: [{name: t, kind: aad-token, tenant_id: t, client_id: c, application_secret: s}]\n"
    )
    assert "!akv" in ok(run("session", "check", "t.yaml", "-e", "N=a"))


def test_stdin(run: Run, project: Path, stdin: object) -> None:
    assert callable(stdin)
    stdin(PLAIN.encode())
    assert "name: a" in ok(run("session", "check", "-", "-n", "a", "-e", "NAME=b"))
    stdin(PLAIN.encode())
    assert "<stdin>:1:7" in run("session", "check", "-").err


# --- old versions -----------------------------------------------------------------------------------------------------

OLD = f"""\
name: old
version: "0.2"
services:
  - {{name: web, mrenclaves: [{H}], command: "web $$SCONE::tls.key$$", pwd: /}}
secrets: [{{name: tls, kind: x509}}]
"""


def test_old_sessions_are_checked_and_upgraded(run: Run, file: Path) -> None:
    file.write_text(OLD)
    checked = run("session", "check", file)
    assert checked.code == 0, checked.err
    assert "s.yaml:2:10: deprecation SC3021: version: session language 0.2 is old" in checked.err
    assert "s.yaml:5:11: warning" in checked.err
    upgraded = run("session", "upgrade", file)
    assert upgraded.code == 0, upgraded.err
    assert "deprecation" not in upgraded.err
    assert parse_session(upgraded.out) == parse_session(checked.out)
    assert "$$SCONE::tls:privatekey$$" in upgraded.out
    refused = run("session", "create", file)
    assert refused.code == 3
    assert "sconectl session upgrade" in refused.err


def test_faults_of_old_sessions_stand_where_they_were_written(run: Run, file: Path) -> None:
    file.write_text(OLD.replace(H, H[2:]) + f"access_policy: {{read: [{H}]}}\n")
    for command in ("check", "upgrade"):
        done = run("session", command, file)
        assert (done.code, done.out) == (3, "")
        assert "s.yaml:4:5: error SC3042" in done.err
        assert "s.yaml:6:24: error SC3090: access_policy.read[0]" in done.err
        assert "sconectl cert show-key-hash" in done.err
        assert "error: 2 errors found" in done.err


def test_upgrading_what_is_new_changes_nothing(run: Run, file: Path) -> None:
    file.write_text("# mine\n" + PLAIN.replace("$NAME", "a"))
    done = run("session", "upgrade", file)
    assert done.out == file.read_text()
    assert "already" in done.err


# --- hashes -----------------------------------------------------------------------------------------------------------


def test_a_hash_does_not_depend_on_the_spelling(run: Run, project: Path) -> None:
    (project / "a.yaml").write_text("name: a\nversion: 0.3.10\naccess_policy: {read: ANY, update: NONE}\n")
    (project / "b.json").write_text(
        '{"access_policy": {"update": ["NONE"], "read": ["ANY"]}, "version": "0.3.10", "name": "a"}'
    )
    first = ok(run("session", "calculate-hash", "a.yaml"))
    assert re.fullmatch(r"[0-9a-f]{64}\n", first)
    assert ok(run("session", "calculate-hash", "b.json")) == first


def test_the_creator_is_part_of_the_hash(run: Run, file: Path) -> None:
    words = ("session", "calculate-hash", file, "-e", "NAME=a")
    refused = run(*words)
    assert (refused.code, refused.out) == (2, "")
    assert "--with-self-as-creator" in refused.err
    hashes = {ok(run(*words, "--with-self-as-creator", how)) for how in ("tls", "signer")}
    assert len(hashes) == 2
    assert ok(run(*words, "--with-self-as-creator", "tls")) in hashes
    assert ok(run(*words, "--with-self-as-creator", "tls", "--cas-config", "other")) not in hashes


# --- uploading --------------------------------------------------------------------------------------------------------


def test_create_read_update_verify(run: Run, file: Path) -> None:
    filled = (file, "-e", "NAME=shop")
    created = ok(run("session", "create", *filled)).strip()
    assert created == ok(run("session", "calculate-hash", *filled, "--with-self-as-creator", "tls")).strip()
    assert ok(run("session", "verify", *filled)).strip() == created
    again = run("session", "create", *filled)
    assert (again.code, again.out.strip(), again.err) == (0, created, "session shop is unchanged\n")
    text = ok(run("session", "read", "shop"))
    Path("read.yaml").write_text(text)
    assert ok(run("session", "calculate-hash", "read.yaml")).strip() == created
    assert ok(run("session", "verify", "read.yaml")).strip() == created
    file.write_text(PLAIN.replace(H, G))
    changed = run("session", "verify", *filled)
    assert (changed.code, changed.out) == (6, "")
    assert f"service web: is run by the enclave {G} instead of the enclave {H}" in changed.err
    updated = ok(run("session", "update", *filled)).strip()
    assert updated != created
    assert ok(run("session", "verify", *filled)).strip() == updated
    assert f"predecessor: {created}" in ok(run("session", "read", "shop")).replace('"', "")
    stale = run("session", "update", "read.yaml", "-e", "X=1")
    assert stale.code == 0, stale.err  # it names no predecessor, so the active one is filled in
    Path("read.yaml").write_text(text.replace("predecessor: null", f'predecessor: "{created}"'))
    assert run("session", "update", "read.yaml").code == 6
    assert run("session", "verify", "read.yaml").code == 6


def test_sessions_that_do_not_exist(run: Run, file: Path) -> None:
    for words in (("update", file), ("verify", file), ("read",)):
        done = run("session", *words, *(("gone",) if words == ("read",) else ("-n", "gone", "-e", "NAME=x")))
        assert (done.code, done.out) == (6, "")
        assert "no session gone" in done.err
        assert "hint:" in done.err


def test_an_invalid_session_is_not_uploaded(run: Run, file: Path) -> None:
    file.write_text(PLAIN.replace("binary", "password"))
    for command in ("create", "update"):
        done = run("session", command, file, "-e", "NAME=a")
        assert (done.code, done.out) == (3, "")
        assert "SC3051" in done.err


def test_somebody_else_may_not_update(run: Run, file: Path) -> None:
    filled = (file, "-e", "NAME=shop")
    ok(run("session", "create", *filled))
    assert run("session", "update", *filled, "--cas-config", "somebody").code == 6
    assert run("session", "read", "shop", "--cas-config", "somebody").code == 6
    ok(run("self", "show-certificate", "--cas-config", "me"))
    ok(run("session", "create", file, "-n", "other", "-e", "NAME=x", "--identity", "me/identity.pem"))
    assert "name: other" in ok(run("session", "read", "other", "--cas-config", "me"))
    assert run("session", "read", "other").code == 6


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "gone.yaml"), "gone.yaml: No such file"),
        (("check", "s.yaml", "-e", "NAME"), "VAR=VALUE"),
        (("check", "s.yaml", "--output", "xml"), "text or json"),
        (("calculate-hash", "s.yaml", "-e", "NAME=a", "--with-self-as-creator", "me"), "tls or signer"),
        (("read", "a", "--identity", "s.yaml"), "s.yaml holds no usable private key"),
        (("read", "a", "--identity", "gone.pem"), "gone.pem: No such file"),
        (("read", "a", "--cas", "http://x/y"), "no address of a CAS"),
        (("diff", "-", "-"), "only once"),
        (("sign", "s.yaml", "nonsense"), "add-signature"),
    ],
)
def test_what_can_be_wrong_on_the_command_line(run: Run, file: Path, words: tuple[str, ...], message: str) -> None:
    done = run("session", *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_secrets_do_not_show(run: Run, file: Path) -> None:
    file.write_text(
        'name: a\nversion: "0.3.10"\nsecrets:\n  - {name: s, kind: ascii, value: hunter2, export: 5}\n'
        "  - {name: t, kind: wrong, value: hunter2}\n"
    )
    done = run("session", "check", file)
    assert done.code == 3
    assert "kind: wrong" in done.err
    assert "hunter2" not in done.out + done.err


# --- diff -------------------------------------------------------------------------------------------------------------


def test_diff(run: Run, file: Path) -> None:
    Path("new.yaml").write_text(PLAIN.replace(H, G))
    words = ("session", "diff", file, "new.yaml", "-e", "NAME=a")
    text = ok(run(*words))
    assert f"    service web: is run by the enclave {G} instead of the enclave {H}\n" in text
    assert run(*words, "--exit-code").code == 1
    changes = json.loads(ok(run(*words, "--output", "json")))["changes"]
    assert {"severity": "neutral", "group": "attestation", "code": ""}.items() <= changes[0].items()
    same = ("session", "diff", file, file, "-e", "NAME=a", "--exit-code")
    assert ok(run(*same)) == ""
    assert json.loads(ok(run(*same, "--output", "json"))) == {"changes": []}


def test_diff_fails_on_what_weakens(run: Run, file: Path) -> None:
    both = PLAIN.replace(H, f"[{H}, {G}]").replace("mode: simulation", "mode: none")
    Path("new.yaml").write_text(both)
    words = ("session", "diff", file, "new.yaml", "-e", "NAME=a")
    done = run(*words, "--fail-on", "weakens")
    assert done.code == 7
    assert f"  ! service web: may be run by the enclave {G} [SC5021]\n" in done.out == ok(run(*words))
    assert "error: 2 changes weaken the protection: SC5001, SC5021\n" in done.err
    assert "sconectl explain SC5001" in done.err
    as_json = run(*words, "--fail-on", "weakens", "--output", "json", "--exit-code")
    assert as_json.code == 7
    changes = json.loads(as_json.out)["changes"]
    assert {(change["severity"], change["code"]) for change in changes} == {
        ("weakens", "SC5001"),
        ("weakens", "SC5021"),
        ("neutral", ""),
    }
    assert list(changes[0]) == ["group", "severity", "code", "subject", "message"]
    back = run("session", "diff", "new.yaml", file, "-e", "NAME=a", "--fail-on", "weakens")
    assert back.code == 0, back.err
    assert f"  + service web: may no longer be run by the enclave {G}\n" in back.out
    new = run("session", "diff", "cas:nothing-yet", "new.yaml", "-e", "NAME=a", "--fail-on", "weakens")
    assert new.code == 0 and "SC5" not in new.out  # nobody trusted a session that was not there
    unknown = run(*words, "--fail-on", "strengthens")
    assert unknown.code == 2 and "--fail-on strengthens is not known" in unknown.err


def test_diff_tells_who_gets_a_secret_in_a_token(run: Run, file: Path) -> None:
    text = (
        "name: a\nversion: 0.3.12\nsecrets:\n- {name: s, kind: ascii}\n"
        "- {name: k, kind: private-key, key_type: P-384}\n"
        "- {name: t, kind: jwt, signer: k, alg: ES384, validity: {for: 1h}, payload: {sub: me}, export_public: true}\n"
    )
    file.write_text(text)
    Path("new.yaml").write_text(text.replace("sub: me", "sub: $$SCONE::s$$"))
    assert "  ! secret s: everybody gets it (claim sub of t) [SC5046]\n" in ok(run("session", "diff", file, "new.yaml"))


def test_diff_with_what_a_cas_has(run: Run, file: Path) -> None:
    words = ("session", "diff", "cas:shop", file, "-e", "NAME=shop")
    assert "secret token: new: the CAS draws it" in ok(run(*words))
    ok(run("session", "create", file, "-e", "NAME=shop"))
    assert ok(run(*words)) == ""
    gone = run("session", "diff", file, "cas:gone", "-e", "NAME=shop")
    assert gone.code == 6
    assert "no session gone" in gone.err


def test_diff_refuses_invalid_files(run: Run, file: Path) -> None:
    assert run("session", "diff", file, file).code == 3


def test_every_cause_of_a_refusal_has_a_line(run: Run, file: Path) -> None:
    file.write_text(PLAIN.replace("mode: simulation", "mode: hardware"))
    done = run("session", "create", file, "-e", "NAME=a")
    assert done.code == 6 and "\\n" not in done.err, done.err
    lines = done.err.splitlines()
    assert lines[0].startswith("error: CAS local refused: The session is for hardware")
    assert [line[: len("  caused by: ")] for line in lines[1:3]] == ["  caused by: "] * 2
    assert lines[3] == "  hint: correct the session"
