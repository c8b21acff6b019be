"""`sconify-image` with the options of both editions of sconify_image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes.engine import FakeEngine, Root, of_layers, tar_of, with_parents
from fakes.roots import elf_file
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from sconectl.cli import main
from sconectl.cli.options.sconify_options import WITHOUT_EFFECT
from sconectl.policy.reading import parse_session
from sconectl.text.yaml_tree import parse

from .conftest import Run
from .converting import Convert, facts, policy, policy_after


def test_the_call_of_the_first_edition(convert: Convert) -> None:
    done = convert(
        "--cas=local", "--dir=/app", "--binary=/usr/bin/app", "--heap=1G", "--stack=4M", "--dlopen=2", "--plain=/data"
    )
    assert (done.code, done.out) == (0, "ns/app\n")
    [service] = policy()["services"]
    assert service["command"] == ["/bin/sh", "-c", "app --serve"]
    assert service["name"] == "service"
    assert service["pwd"] == "/app"
    assert service["environment"]["LANG"] == "C.UTF-8"
    assert facts()["protected"]["encrypted"] == ["/app"]
    assert "/data" in facts()["protected"]["outside"]


def test_values_as_words_of_their_own(convert: Convert) -> None:
    done = convert(
        "--cas", "local", "--dir", "/app", "--heap", "256m", "--log", "error", "--fork", "1", "--mprotect", "1"
    )
    assert (done.code, done.out) == (0, "ns/app\n")
    parameters = facts()["parameters"]
    assert (parameters["heap"], parameters["fork"], parameters["mprotect"]) == (str(256 << 20), "1", "1")
    assert policy()["services"][0]["environment"]["SCONE_LOG"] == "error"


def test_options_without_effect_say_what_happens_instead(convert: Convert) -> None:
    reasons = {f"--{name.replace('_', '-')}": reason for name, reason in WITHOUT_EFFECT.items()}
    flags = [name for name in reasons if name.startswith("--disable") or name in ("--cas-debug",)]
    done = convert(*flags, "--base=alpine:3.10", "--cli=x", "--crosscompiler=y", "--las", "localhost")
    assert done.code == 0
    for name, reason in reasons.items():
        if name != "--generate-sconefile":
            assert f"{name} has no effect: {reason}\n" in done.err


@pytest.mark.parametrize("option", ["--dry-run", "--disable-session-upload", "--generate-sconefile"])
def test_without_an_upload(convert: Convert, option: str) -> None:
    done = convert(option, namespace=False)
    assert (done.code, done.out) == (0, "ns/app\n")
    assert policy()["name"] == "ns/app"
    assert convert(namespace=False).code == 6  # no namespace was made


def test_tolerance(convert: Convert) -> None:
    assert "security" not in policy_after(convert) or "tolerate" not in policy()["security"]["attestation"]
    done = convert("--allow-tcb-vulnerabilities", "--allow-debug-mode")
    assert "debug mode" in done.err
    attestation = policy()["security"]["attestation"]
    assert attestation["tolerate"] == [
        "hyperthreading", "insecure-igpu", "outdated-tcb", "software-hardening-needed", "insecure-configuration",
        "debug-mode",
    ]  # fmt: skip
    assert attestation["ignore_advisories"] == "*"


def test_a_session_for_everybody(convert: Convert) -> None:
    done = convert("--disable-session-security-attestation")
    assert done.code == 0 and "warning: the session checks no enclave" in done.err
    assert policy()["security"]["attestation"] == {"mode": "none"}
    assert "attestation" not in policy()["services"][0]


def test_a_cas_that_is_not_identified(convert: Convert) -> None:
    done = convert("--disable-attestation")
    assert done.code == 0 and "warning: the CAS is not identified" in done.err


def test_environment(convert: Convert) -> None:
    environment = policy_after(convert, "--disable-copy-envvars", "--env=A=1=2", "--env", "B=")["services"][0][
        "environment"
    ]
    assert environment["A"] == "1=2" and environment["B"] == ""
    assert "LANG" not in environment


def test_sessions_that_exist(convert: Convert) -> None:
    assert convert().code == 0
    again = convert("--disable-update-session-if-exists", namespace=False)
    assert again.code == 6 and again.out == "" and "is not to be updated" in again.err
    assert "exists already" in convert("--env=A=1").err


def test_an_identity_of_its_own(convert: Convert, run: Run, tmp_path: Path) -> None:
    assert convert().code == 0
    from sconectl.cas.client.identity import CasConfig

    other = CasConfig(tmp_path / "other").identity().file
    refused = convert("--identity", other, namespace=False)
    assert refused.code == 6
    gone = convert("--identity", tmp_path / "gone")
    assert gone.code == 2 and "gone" in gone.err


@pytest.mark.parametrize(("words", "code", "said"), [
    (["--heap=4M"], 2, "--heap 4M: expected a size from 8388608 to 64424509440 bytes"),
    (["--heap=61G"], 2, "--heap 61G"),
    (["--heap=lots"], 2, "--heap lots"),
    (["--stack=" + "9" * 5000], 2, "expected a size from 32768 to 8388608 bytes"),
    (["--stack=16k"], 2, "--stack 16k: expected a size from 32768 to 8388608 bytes"),
    (["--dlopen=3"], 2, "--dlopen"),
    (["--fork=2"], 2, "--fork"),
    (["--log=loud"], 2, "give trace or debug"),
    (["--env=A"], 2, "NAME=VALUE"),
    (["--volume=V1"], 2, "--volume 'V1': expected NAME:PATH"),
    (["--volume=V1:V1"], 2, "--volume 'V1:V1': expected NAME:PATH"),
    (["--volume=V1:/V1:"], 2, "--volume 'V1:/V1:': behind the path stands the session"),
    (["--volume=V1:/V1::"], 2, "behind the path stands the session"),
    (["--volume=V1:/V1:from:to"], 2, "behind the path stands the session"),
    (["--volume=V1:/V1::one::two"], 2, "behind the path stands the session"),
    (["--k8s-helm-workload-type=job", "--k8s-helm-volume=V1"], 2, "--k8s-helm-volume 'V1': expected NAME:PATH"),
    (["--k8s-helm-workload-type=job", "--k8s-helm-volume=V1:/a:ro"], 2, "'V1:/a:ro': nothing can stand behind"),
    (["--azure-attestation=https://x"], 4, "attestation by Azure"),
    (["--binary-fs", "--dir=/app"], 2, "exclude each other"),
    (["--host-path=/a,*"], 2, "--host-path '*': expected an absolute path"),
    (["--dir=/a\tb"], 2, "--dir '/a\\tb': expected a path of no control characters; it has U+0009"),
    (["--plain=/a\udcffb"], 2, "--plain '/a\\udcffb': expected a path of text that is UTF-8"),
    (["--dir=relative"], 2, "absolute path"),
    (["--plain=/data", "--dir=/data/x"], 3, "/data"),
    (["--trace=gone"], 2, "gone cannot be read"),
    (["--template=gone"], 2, "gone cannot be read"),
    (["--secrets=gone"], 2, "gone cannot be read"),
    (["--k8s-helm-workload-type=pod"], 2, "deployment, statefulset, daemonset, job"),
    (["--k8s-helm-expose=80"], 2, "--k8s-helm-workload-type"),
    (["--nothing"], 2, "No such option"),
])  # fmt: skip
def test_refused_before_anything_is_built(
    convert: Convert, engine: FakeEngine, words: list[str], code: int, said: str
) -> None:
    done = convert(*words)
    assert (done.code, done.out) == (code, ""), done.err
    assert said in done.err
    assert engine.count("build") == engine.count("load") == 0
    assert not Path("target").exists()


PATHS = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/,:"), min_size=1, max_size=30
).filter(lambda name: name not in (".", ".."))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@example("a b", "my data")
@example("ünï", "{{namespace}} {% x %}")
@example("$HOME$$SCONE::x$$", "-dash")
@example("'\"", "\\")
@example("#x", "@@1")
@example("🦊", "* [a] ?")
@given(PATHS, PATHS)
def test_any_path(convert: Convert, engine: FakeEngine, pwd: str, folder: str) -> None:
    """Paths reach the session and the measured files as they are, whatever they look like."""
    assume(pwd != folder and not {pwd, folder} & {"dev", "proc", "sys", "scone", "tmp", "run", "bin", "usr"})
    program = (0o755, elf_file())
    root: Root = {"/usr/bin/app": program, f"/{folder}/data.txt": (0o644, b"hidden")}
    config = {"Cmd": ["/usr/bin/app"], "WorkingDir": f"/{pwd}/x"}
    engine.images["native:1"] = of_layers([tar_of(with_parents(root))], config)
    done = convert(f"--dir=/{folder}", f"--plain=/{pwd}/plain", f"--fs-dir=/{pwd}")
    assert (done.code, done.out) == (0, "ns/app\n"), done.err
    [service] = policy()["services"]
    assert facts()["pwd"] == f"/{pwd}/x"
    assert service["pwd"].replace("$$", "$") == f"/{pwd}/x".replace("$$", "$")  # files write $NAME as $$NAME
    assert facts()["protected"]["encrypted"] == [f"/{folder}"]
    assert f"/{pwd}/plain" in facts()["protected"]["outside"]
    parse_session(Path("target/policies/app.yaml").read_text(), file="app.yaml")


def test_a_working_directory_that_nobody_can_read(convert: Convert, engine: FakeEngine) -> None:
    root: Root = {"/usr/bin/app": (0o755, elf_file())}
    config = {"Cmd": ["/usr/bin/app"], "WorkingDir": "/a\nb"}
    engine.images["native:1"] = of_layers([tar_of(with_parents(root))], config)
    done = convert()
    assert done.code == 4 and "the working directory '/a\\nb' of native:1 cannot stand in a policy" in done.err


def test_host_paths_and_measured_paths(convert: Convert) -> None:
    done = convert(
        "--binary-fs", "--fs-dir=/", "--fs-file=/data/plain.txt", "--host-path=/tmp,/etc/hosts,/etc/resolv.conf"
    )
    assert done.code == 0, done.err


def test_help_is_what_happens_without_arguments(run: Run) -> None:
    for words in ([], ["-h"], ["--help"]):
        done = run(*words, entry=main.convert_image)
        assert done.code == 0 and "--from" in done.out


# --- traces ---------------------------------------------------------------------------------------------------------

LOG = 'execve("/usr/bin/app", ["app"], 0x1) = 0\nopenat(AT_FDCWD, "data.txt", O_RDONLY) = 3\n'


def test_a_trace_gives_the_directories(convert: Convert) -> None:
    Path("strace.log").write_text(LOG)
    done = convert("--trace=strace.log")
    assert (done.code, done.out) == (0, "ns/app\n")
    assert "the trace proposes: --dir /app\n" in done.err
    assert facts()["protected"]["encrypted"] == ["/app"]
    done = convert("--trace=strace.log", "--dir=/data")
    assert "the trace proposes: --dir /app\n" in done.err
    assert facts()["protected"]["encrypted"] == ["/data"]
    Path("empty.log").write_text("")
    assert convert("--trace=empty.log").code == 3


def test_a_run_under_observation(convert: Convert, engine: FakeEngine) -> None:
    engine.output = b'7 openat(AT_FDCWD</app>, "data.txt", O_RDONLY) = 3\n7 +++ exited with 4 +++\n'
    done = convert("--trace=run", "--trace-seconds=5")
    assert done.code == 0 and facts()["protected"]["encrypted"] == ["/app"]
    assert engine.count("run") == 1
    assert "note: the program ended with status 4 while it was observed" in done.err
    assert not [name for name in engine.images if "trace" in name]
    engine.output = b""
    done = convert("--trace", "run")
    assert done.code == 5 and "nothing was seen" in done.err
    assert not [name for name in engine.images if "trace" in name]


# --- charts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["deployment", "statefulset", "daemonset", "job"])
def test_a_chart(convert: Convert, kind: str) -> None:
    Path("more").mkdir()
    Path("more/config.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n")
    done = convert(
        f"--k8s-helm-workload-type={kind}", "--service-name=web", "--k8s-helm-expose=4996",
        "--k8s-helm-output-dir=charts",
        "--k8s-helm-volume=V1:/V1", "--k8s-helm-set=scone.log=error", "--k8s-helm-set=replicaCount=2",
        "--k8s-helm-manifests=more",
    )  # fmt: skip
    assert (done.code, done.out) == (0, "ns/app\n"), done.err
    folder = Path("charts/web")
    values = parse((folder / "values.yaml").read_text(), "values").value
    assert isinstance(values, dict)
    assert values["scone"]["configId"] == "ns/app/web"
    assert values["scone"]["log"] == "error" and values["replicaCount"] == "2"
    assert (values["volumev1"]["mountPath"], values["volumev1"]["encrypted"]) == ("/V1", "false")
    assert "/V1" in facts()["protected"]["outside"]
    assert "name: sconify-web" in (folder / "Chart.yaml").read_text()
    assert (folder / "README.md").exists()
    report = helm.lint(str(folder), strict=True)
    assert (report["messages"], report["errors"]) == ([], [])
    objects = {item["kind"].lower(): item for item in rendered(folder)}
    more = set() if kind == "job" else {"pod"}  # for `helm test`
    more |= {"poddisruptionbudget"} if kind in ("deployment", "statefulset") else set()
    assert set(objects) == {kind, "service", "serviceaccount", "configmap"} | more
    for item in objects.values():
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    pod = objects[kind]["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == ("Never" if kind == "job" else "Always")
    assert {"name": "volumev1", "mountPath": "/V1"} in pod["containers"][0]["volumeMounts"]
    assert {"name": "volumev1", "emptyDir": {}} in pod["volumes"]
    assert "/scone/memory" not in [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]]
    claimed = {"volumev1": {"persistence": {"enabled": True, "existingClaim": "mine"}}}
    [kept] = (item["spec"]["template"]["spec"] for item in rendered(folder, claimed) if item["kind"].lower() == kind)
    assert {"name": "volumev1", "persistentVolumeClaim": {"claimName": "mine"}} in kept["volumes"]
    assert ("replicas" in objects[kind]["spec"]) == (kind in ("deployment", "statefulset"))
    section = "strategy" if kind == "deployment" else "updateStrategy"
    whole: dict[str, Any] = {"deployment": {"maxSurge": 1, "maxUnavailable": 0}, "statefulset": {"partition": 0}}
    whole["daemonset"] = whole["deployment"]
    expected = {"type": "RollingUpdate", "rollingUpdate": whole[kind]} if kind in whole else None
    assert objects[kind]["spec"].get(section) == expected
    if kind == "daemonset":
        values = {"persistence": {"enabled": True, "mountPath": "/data"}}
        [kept] = (item for item in rendered(folder, values) if item["kind"] == "DaemonSet")
        assert kept["spec"][section]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


SEED = (
    "--volume", "V1:/V1", "--k8s-helm-workload-type=job", "--service-name", "python-service", "--k8s-helm-output-dir",
    "charts",
)  # fmt: skip


def test_an_encrypted_volume_in_image_session_and_chart(convert: Convert) -> None:
    done = convert(*SEED, "--volume=logs:/var/logs::ns/other", "--volume-tags=logs=bounded", "--plain=/data")
    assert (done.code, done.out) == (0, "ns/app\n"), done.err
    document = policy()
    assert document["volumes"] == [{"name": "V1"}, {"name": "logs", "export": [{"session": "ns/other"}]}]
    mounts = [{"name": "V1", "path": "/V1"}, {"name": "logs", "path": "/var/logs"}]
    assert document["images"][0]["volumes"] == mounts
    assert facts()["parameters"]["volumes"] == '{"logs":{"tags":"bounded"}}'
    values = {
        "volumev1": {"persistence": {"enabled": True, "existingClaim": "test-pvc"}},
        "useSGXDevPlugin": "scone",
        "imagePullPolicy": "IfNotPresent",
        "imagePullSecrets": [{"name": "regcred"}],
        "scone": {"log": "ERROR", "printVersion": True},
    }
    found = {item["kind"]: item for item in rendered(Path("charts/python-service"), values, "python-service-0")}
    job = found["Job"]
    kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
    assert job["metadata"]["name"] == "python-service-0-sconify-python-service"
    pod = job["spec"]["template"]["spec"]
    places = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert places == {
        "sconectl-memory": "/dev/shm", "sconectl-volumes": "/scone/memory",
        "volumev1": "/scone/volumes/V1", "volumelogs": "/scone/volumes/logs",
    }  # fmt: skip
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    assert volumes["volumev1"] == {"persistentVolumeClaim": {"claimName": "test-pvc"}}
    environment = {entry["name"]: entry.get("value") for entry in pod["containers"][0]["env"]}
    assert (environment["SCONE_LOG"], environment["SCONE_VERSION"]) == ("ERROR", "1")
    assert helm.lint("charts/python-service", strict=True)["messages"] == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--volume-tags=V1=bounded"], "--volume-tags: no --volume is called 'V1'"),
        (["--volume=V1:/V1", "--volume-tags=V1=fast"], "--volume-tags V1=fast: expected strict or bounded"),
        (["--volume=V1:/V1", "--volume-tags=V1"], "--volume-tags takes NAME=bounded or NAME=strict"),
        ([*SEED, "--k8s-helm-volume=v1:/other"], "in the chart two volumes would have the name volumev1"),
    ],
)
def test_volumes_that_do_not_fit_together(convert: Convert, words: list[str], message: str) -> None:
    done = convert(*words)
    assert (done.code, done.out) == (2, "") and message in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--volume=V1:/V1", "--volume=V2:/V1/x"], "lies in the volume /V1"),
        (["--volume=V1:/tmp/x"], "a container is given its own /tmp"),
        (["--volume=V1:/V1", "--volume=V1:/V2"], "two volumes are called V1"),
        (["--volume=V1:/app/x", "--dir=/app"], "lies in the encrypted directory /app"),
    ],
)
def test_volumes_at_places_where_none_can_be(convert: Convert, words: list[str], message: str) -> None:
    done = convert(*words)
    assert (done.code, done.out) == (3, "") and message in done.err and "--volume" in done.err


def test_the_version_of_a_chart_changes_with_its_content(convert: Convert) -> None:
    def version(*words: str) -> str:
        assert convert("--k8s-helm-workload-type=job", "--service-name=web", *words).code == 0
        head: Any = parse(Path("target/helm/web/Chart.yaml").read_text(), "Chart.yaml").value
        assert helm.lint("target/helm/web", strict=True)["messages"] == []
        return str(head["version"])

    assert [version(), version(), version("--k8s-helm-set=scone.log=error")] == ["0.1.0", "0.1.0", "0.2.0"]
    assert version("--env=A=1") == "0.3.0"  # the policy, and so what the pods get


def rendered(folder: Path, values: dict[str, Any] | None = None, release: str = "demo") -> list[dict[str, Any]]:
    """Return the objects that Helm makes of a chart."""
    with helm.Chart.load(str(folder)) as chart:
        files = dict(chart.render(values, name=release, namespace="prod"))
    reader = YAML(typ="safe")
    return [item for path, text in files.items() if path.endswith(".yaml") for item in reader.load_all(text) if item]


def test_a_chart_that_cannot_be(convert: Convert) -> None:
    assert convert("--k8s-helm-workload-type=job", "--service-name=Web_1").code == 2
    done = convert("--k8s-helm-workload-type=job", "--k8s-helm-set=useSGXPlugin=scone")
    assert done.code == 4 and "useSGXPlugin" in done.err


# --- signatures -----------------------------------------------------------------------------------------------------


def test_an_image_signed_with_a_key_of_ones_own(convert: Convert, engine: FakeEngine) -> None:
    def key(size: int, exponent: int) -> Path:
        made = rsa.generate_private_key(exponent, size)
        file = Path(f"{size}-{exponent}.pem")
        encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        file.write_bytes(made.private_bytes(*encoding))
        file.chmod(0o600)
        return file

    def signer() -> str:
        found: str = json.loads(engine.images["conf:1"].info.labels["io.sconectl.image"])["signer"]["mrsigner"]
        return found

    assert convert("--scone-signer", key(3072, 3)).code == 0
    first = signer()
    Path("3072-3.pem").unlink()
    assert convert("--scone-signer", key(3072, 3)).code == 0
    assert signer() != first
    for wrong in (key(2048, 3), key(3072, 65537), Path("gone.pem")):
        refused = convert("--scone-signer", wrong)
        assert refused.code in (2, 3, 4) and wrong.name in refused.err, refused.err
