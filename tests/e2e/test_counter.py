"""The counter of examples/counter: converted by upstream's command, run as its chart says, attacked on its mount."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from ruamel.yaml import YAML

from sconectl.toolchains.sim.toolchain import SimToolchain

from .changed_bytes import flip_encrypted, flip_file
from .world import REPOSITORY, SCONECTL, Outcome, World, docker, must, run

EXAMPLE = REPOSITORY / "examples" / "counter"
REFUSED = 125
CREATED = "/V1/num does not exist, creating ... \nAnd writing 0 to it ... \n"
SET = (
    "volumev1.persistence.enabled=true,volumev1.persistence.existingClaim=test-pvc,useSGXDevPlugin=scone,"
    "imagePullPolicy=IfNotPresent,scone.log=ERROR,scone.printVersion=true,imagePullSecrets[0].name=regcred"
)
protecting = pytest.mark.skipif(not SimToolchain.traits.volumes, reason="sim cannot protect volumes yet")


def counted(log: str) -> list[int]:
    return [int(number) for number in re.findall(r"^The number of executions is ([0-9]+)$", log, re.M)]


@dataclass
class Native:
    """The native image on a machine with a CAS, and its interpreter."""

    world: World
    image: str
    interpreter: str

    def shell(self, volume: str, script: str, old: str = "") -> str:
        """Run a script as somebody who can do everything with the storage; return what it prints.

        The storage is at /s, and an `old` one at /o.
        """
        words = ["-v", f"{volume}:/s", *(["-v", f"{old}:/o"] if old else [])]
        return must(docker("run", "--rm", *words, "--entrypoint", "sh", self.image, "-ec", script)).out


@pytest.fixture(scope="module")
def native(module_world: World) -> Native:
    image = module_world.image("native-python")
    context = EXAMPLE / "native"
    must(docker("build", "-q", "-t", image, "--build-arg", f"base_image={module_world.base_image}", context))
    found = must(docker("run", "--rm", "--entrypoint", "sh", image, "-c", "readlink -f $(command -v python3)"))
    return Native(module_world, image, found.out.strip())


@pytest.fixture
def volume() -> Iterator[str]:
    """An empty volume of the engine."""
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    must(docker("volume", "create", name))
    yield name
    docker("volume", "rm", "-f", name)


def test_the_native_image_counts_and_believes_everything(native: Native, volume: str) -> None:
    def once(*arguments: str) -> Outcome:
        words = ("python3", "/code/app.py", *arguments) if arguments else ()
        return docker("run", "--rm", "-v", f"{volume}:/V1", native.image, *words)

    outputs = [must(once()).out for _ in range(3)]
    one, *others = (f"The number of executions is {number}\n" for number in (1, 2, 3))
    assert outputs == [CREATED + one, *others]
    assert native.shell(volume, "cat /s/num") == "4"
    native.shell(volume, "echo 1000 >/s/num")
    assert counted(must(once()).out) == [1000]
    assert counted(must(once("-v", "/tmp/deep/num")).out) == [1]
    native.shell(volume, "echo many >/s/num")
    failed = once()
    assert failed.code == 1 and "ValueError" in failed.err


# --- the confidential image -----------------------------------------------------------------------------------------


@dataclass
class Counter:
    """The confidential image, its policy, and the chart that was written for it."""

    native: Native
    image: str
    session: str
    policy: dict[str, Any]
    chart: Path

    def job(self, release: str) -> dict[str, Any]:
        """Return the Job that `helm install RELEASE CHART --set …` would make."""
        with helm.Chart.load(str(self.chart)) as chart:
            files = chart.render(helm.parse_set_string(SET), name=release, namespace="default")
        found = [YAML(typ="safe").load(text) for path, text in files.items() if path.endswith("job.yaml")]
        [job] = found
        kubernetes_validate.validate(job, kubernetes_validate.latest_version(), strict=True)
        return dict(job)

    def options(self, volume: str, job: dict[str, Any]) -> tuple[str, list[str]]:
        """Return the image of a Job and what `docker run` has to be told about it; `volume` is the claim test-pvc."""
        pod = job["spec"]["template"]["spec"]
        [container] = pod["containers"]
        assert "command" not in container and "args" not in container
        places = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        words = ["--cap-drop=ALL", "--security-opt=no-new-privileges"]
        for entry in container["env"]:
            words += ["-e", f"{entry['name']}={entry['value']}"]
        for source in pod["volumes"]:
            place = places[source["name"]]
            if "emptyDir" in source:
                assert source["emptyDir"]["medium"] == "Memory"
                words += ["--tmpfs", f"{place}:exec,size={_bytes(source['emptyDir']['sizeLimit'])}"]
            else:
                assert source["persistentVolumeClaim"] == {"claimName": "test-pvc"}
                words += ["-v", f"{volume}:{place}"]
        return container["image"], words

    def run(self, volume: str, *arguments: str, change: Callable[[str], None] | None = None) -> tuple[int, str]:
        """Run the Job once, after somebody has changed its container; return exit code and log."""
        image, words = self.options(volume, self.job("python-service-0"))
        name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
        self.native.world.containers.append(name)
        must(docker("create", "--name", name, *words, image, *arguments))
        if change:
            change(name)
        must(docker("start", name))
        return self.native.world.finish(name)

    def count(self, volume: str, *arguments: str) -> int:
        code, log = self.run(volume, *arguments)
        assert code == 0, log
        [number] = counted(log)
        return number

    def refusal(self, volume: str, change: Callable[[str], None] | None = None) -> str:
        code, log = self.run(volume, change=change)
        assert code == REFUSED and "[SCONE|FATAL]" in log and "Traceback" not in log, log
        assert counted(log) == [], "the program must not run"
        return log


def _bytes(size: str) -> str:
    """Return a size of Kubernetes as Docker takes it."""
    return size.replace("Mi", "m").replace("Gi", "g")


@pytest.fixture(scope="module")
def counter(native: Native) -> Counter:
    world = native.world
    world.root.joinpath("charts").mkdir()
    image, namespace = world.image("python-k8-test"), "ns-8991241572316"
    done = run(
        [
            SCONECTL.with_name("sconify_image"), f"--from={native.image}", f"--to={image}", "--create-namespace",
            f"--namespace={namespace}", "--name=python-session", "--service-name=python-service",
            f"--cas={world.address}", "--las=localhost", "--cas-debug",
            "--heap=256m", "--stack=4m", "--dlopen=1", f"--binary={native.interpreter}",
            "--volume=V1:/V1", "--dir=/code", "--dir=/usr/lib", "--command=python3 /code/app.py",
            "--k8s-helm-workload-type=job", "--k8s-helm-output-dir=charts",
        ],
        env=world.environment,
        cwd=world.root,
    )  # fmt: skip
    assert (done.code, done.out) == (0, f"{namespace}/python-session\n"), done.text
    policy = YAML(typ="safe").load(world.target / "policies" / "python-session.yaml")
    return Counter(native, image, done.out.strip(), policy, world.root / "charts" / "python-service")


@protecting
def test_the_policy_is_that_of_upstream(counter: Counter) -> None:
    policy = counter.policy
    assert policy["name"] == counter.session
    assert policy["volumes"] == [{"name": "V1"}]
    [image] = policy["images"]
    assert image["volumes"] == [{"name": "V1", "path": "/V1"}]
    [service] = policy["services"]
    assert (service["name"], service["image_name"]) == ("python-service", image["name"])
    assert (service["pwd"], service["environment"]["LANG"]) == ("/", "C.UTF-8")
    assert service["command"] in ("python3 /code/app.py", ["python3", "/code/app.py"])
    assert {"fspf_key", "fspf_tag", "fspf_path"} <= service.keys()
    assert policy["access_policy"] == {"read": ["CREATOR"], "update": ["CREATOR"]}


@protecting
def test_the_chart_has_the_names_and_values_of_upstream(counter: Counter) -> None:
    report = helm.lint(str(counter.chart), strict=True)
    assert (report["messages"], report["errors"]) == ([], [])
    job = counter.job("python-service-2")
    assert (job["kind"], job["metadata"]["name"]) == ("Job", "python-service-2-sconify-python-service")
    readme = (counter.chart / "README.md").read_text()
    assert "volumeNAME.persistence.existingClaim" in readme and "useSGXDevPlugin" in readme
    pod = job["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["imagePullSecrets"]) == ("Never", [{"name": "regcred"}])


@protecting
def test_the_image_has_a_link_and_no_plaintext(counter: Counter) -> None:
    must(counter.native.world.sconectl("measure", counter.image))
    created = must(docker("create", counter.image)).out.strip()
    counter.native.world.containers.append(created)
    link = counter.native.world.root / "link"
    must(docker("cp", f"{created}:/V1", link))
    assert str(link.readlink()) == "/scone/memory/volumes/V1"


@dataclass
class Counted:
    """A counter that has been run three times; `old` is its storage after the second run."""

    counter: Counter
    volume: str
    old: str

    def storage(self, script: str) -> str:
        return self.counter.native.shell(self.volume, script, self.old)

    def goes_on(self) -> None:
        """Count once more: nobody has damaged anything, and nothing was lost."""
        numbers = [self.counter.count(self.volume) for _ in range(2)]
        assert numbers[1] == numbers[0] + 1 and numbers[0] >= 4


@pytest.fixture
def three_times(counter: Counter, volume: str) -> Iterator[Counted]:
    """Run the counter until it has said 1, 2, 3, with a copy of its storage taken before the last run."""
    world = counter.native.world
    old = f"{volume}-old"
    assert [counter.count(volume), counter.count(volume)] == [1, 2]
    must(docker("volume", "create", old))
    counter.native.shell(volume, "cp -a /s/. /o", old)
    assert counter.count(volume) == 3
    yield Counted(counter, volume, old)
    world.remove_containers()
    docker("volume", "rm", "-f", old)


@protecting
def test_the_storage_shows_the_name_of_the_file_and_not_what_is_in_it(three_times: Counted) -> None:
    names = three_times.storage("cd /s && find . -type f | sort").split()
    assert {"./num", "./volume.fspf"} <= set(names)
    assert three_times.storage("grep -alr 'executions' /s || true") == ""
    assert three_times.storage("cat /s/num").strip() != "4"
    three_times.goes_on()


@protecting
def test_changed_content_is_noticed(three_times: Counted) -> None:
    kept = three_times.storage("base64 -w0 /s/num")
    three_times.storage("printf XXXX | dd of=/s/num bs=1 conv=notrunc 2>/dev/null")
    assert "/V1/num" in three_times.counter.refusal(three_times.volume)
    three_times.storage(f"echo {kept} | base64 -d >/s/num")
    three_times.goes_on()


@protecting
def test_an_old_copy_of_the_file_is_noticed(three_times: Counted) -> None:
    """The attack that upstream describes: the content of `num` is copied, and put back after the next run."""
    three_times.storage("cp -p /o/num /s/num")
    assert "/V1/num" in three_times.counter.refusal(three_times.volume)


@protecting
def test_an_old_copy_of_the_whole_volume_is_noticed(three_times: Counted) -> None:
    three_times.storage("find /s -mindepth 1 -delete && cp -a /o/. /s")
    log = three_times.counter.refusal(three_times.volume)
    assert "V1" in log and "older" in log


@protecting
def test_a_deleted_file_is_noticed(three_times: Counted) -> None:
    three_times.storage("rm /s/num")
    assert "/V1/num" in three_times.counter.refusal(three_times.volume)


@protecting
@pytest.mark.parametrize("script", ["find /s -mindepth 1 -delete", "rm /s/volume.fspf"])
def test_a_deleted_volume_is_noticed(three_times: Counted, script: str) -> None:
    three_times.storage(script)
    log = three_times.counter.refusal(three_times.volume)
    assert "V1" in log and "volume.fspf" in log


@protecting
def test_another_new_volume_is_no_way_to_begin_again(three_times: Counted) -> None:
    must(docker("volume", "create", other := f"{three_times.volume}-new"))
    try:
        assert "V1" in three_times.counter.refusal(other)
    finally:
        docker("volume", "rm", "-f", other)
    three_times.goes_on()


@protecting
def test_a_changed_program_is_noticed(three_times: Counted) -> None:
    three_times.counter.refusal(three_times.volume, flip_encrypted)
    three_times.goes_on()


@protecting
def test_a_changed_interpreter_is_noticed(three_times: Counted) -> None:
    interpreter = three_times.counter.native.interpreter
    log = three_times.counter.refusal(three_times.volume, lambda container: flip_file(container, interpreter))
    assert f"changed: {interpreter}" in log
    three_times.goes_on()


@protecting
def test_another_argument_changes_nothing(three_times: Counted) -> None:
    assert three_times.counter.count(three_times.volume, "-v", "/tmp/num") == 4
    assert three_times.counter.count(three_times.volume, "python3", "/code/app.py", "-v", "/tmp/num") == 5


@protecting
@pytest.mark.parametrize("missing", ["/scone/memory", "/scone/volumes/V1"])
def test_the_option_that_is_missing_is_named(counter: Counter, volume: str, missing: str) -> None:
    image, words = counter.options(volume, counter.job("python-service-0"))
    at = next(number for number, word in enumerate(words) if word.startswith((f"{missing}:", f"{volume}:{missing}")))
    del words[at - 1 : at + 1]
    name = f"sconectl-test-{uuid.uuid4().hex[:10]}"
    counter.native.world.containers.append(name)
    must(docker("create", "--name", name, *words, image))
    must(docker("start", name))
    code, log = counter.native.world.finish(name)
    option = "--tmpfs /scone/memory" if missing == "/scone/memory" else "-v V1:/scone/volumes/V1"
    assert code == REFUSED and option in log, log
