"""The counter of examples/counter: converted by upstream's command, run as its chart says, attacked on its mount."""

from __future__ import annotations

import base64
import re
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python as helm
import kubernetes_validate
import pytest
from meant_differences import changes, stale, unexplained
from ruamel.yaml import YAML

from .capture import listening
from .changed_bytes import flip_encrypted, flip_file
from .curated_mesh import require_images
from .operator_attacks import NOT_TRUSTED, another_under_the_tag, learns_nothing
from .readme_walk import walk
from .world import REPOSITORY, SCONECTL, Outcome, World, docker, must, run

EXAMPLE = REPOSITORY / "examples" / "counter"
REFUSED = 125
SEED = REPOSITORY.parent / "shared" / "seeds"
DIFFERING = {
    "version: was 0.3, is 0.3.8": "variables of the host need it",
    "mode: was hardware, is simulation; no hardware vouches for a program": "there is none here",
    "tolerate: … is tolerated no longer": "upstream accepts machines with known weaknesses",
    "ignore_advisories: every advisory is ignored no longer": "and those with weaknesses that are found later",
    "service python-service: is run by the enclave … instead of the enclave …": "it is another image",
    "service python-service: variable SCONE_…: added": "they are measured here, and told to whoever reads the policy",
    "service python-service: variable SCONE_…: removed": "they are of hardware",
    "service python-service: variable HOME: added": "container runtimes give it to every program",
    "service python-service: variable \\@\\@HOSTNAME: added": "as above",
    "service python-service: the host decides the variable HOSTNAME": "as above",
    "service python-service: image: is python-session": "a name",
    "image python-service_image: mount /V1: removed": "the image with this name",
    "image python-session: mount /V1: added": "it is mounted where it was",
    "secret sconectl-fspf-key: …": "the key is not in the policy: it comes from the session of the image",
    "service python-service: fspf_…": "another file system, with another key, at another place",
}
"""What the policy of upstream's document and ours are meant to differ in, and why."""
CREATED = "/V1/num does not exist, creating ... \nAnd writing 0 to it ... \n"
SET = (
    "volumev1.persistence.enabled=true,volumev1.persistence.existingClaim=test-pvc,useSGXDevPlugin=scone,"
    "imagePullPolicy=IfNotPresent,scone.log=ERROR,scone.printVersion=true,imagePullSecrets[0].name=regcred"
)


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


@pytest.mark.shows("001.native")
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
        found = [YAML(typ="safe").load(text) for path, text in files.items() if path.endswith("workload.yaml")]
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
        words += ["--read-only"] if container["securityContext"]["readOnlyRootFilesystem"] else []
        for entry in container["env"]:
            words += ["-e", f"{entry['name']}={entry['value']}"]
        for source in pod["volumes"]:
            place = places[source["name"]]
            if source.get("emptyDir") == {}:
                words += ["--tmpfs", place]  # a directory that may be written to
            elif "emptyDir" in source:
                assert source["emptyDir"]["medium"] == "Memory"
                words += ["--tmpfs", f"{place}:exec,size={_bytes(source['emptyDir']['sizeLimit'])}"]
            else:
                assert source["persistentVolumeClaim"] == {"claimName": "test-pvc"}
                words += ["-v", f"{volume}:{place}"]
        return container["image"], words

    def run(self, volume: str, *arguments: str, change: Callable[[str], None] | None = None) -> tuple[int, str]:
        """Run the Job once, after somebody has changed its container; return exit code and log."""
        image, words = self.options(volume, self.job("python-service-0"))
        return self.end_of(image, words, arguments, change)

    def end_of(
        self,
        image: str,
        words: Sequence[str],
        arguments: Sequence[str] = (),
        change: Callable[[str], None] | None = None,
    ) -> tuple[int, str]:
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


@pytest.mark.shows("001.policy")
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


@pytest.mark.skipif(not SEED.is_dir(), reason="the documents of the seeds are not beside this checkout")
@pytest.mark.shows("001.policy")
def test_the_difference_to_the_policy_that_upstream_shows(counter: Counter, tmp_path: Path) -> None:
    [document] = SEED.glob("001_*.txt")
    shown = document.read_text(encoding="utf-8").partition("would look like this:\n")[2].partition("\nGenerated")[0]
    theirs, ours = tmp_path / "theirs.yaml", counter.native.world.target / "policies" / "python-session.yaml"
    theirs.write_text(shown, encoding="utf-8")
    done = must(counter.native.world.sconectl("session", "diff", theirs, ours, "--output", "json"))
    assert unexplained(changes(done.out), DIFFERING) == []
    assert stale(changes(done.out), DIFFERING) == []


@pytest.mark.shows("001.chart")
def test_the_chart_has_the_names_and_values_of_upstream(counter: Counter) -> None:
    report = helm.lint(str(counter.chart), strict=True)
    assert (report["messages"], report["errors"]) == ([], [])
    job = counter.job("python-service-2")
    assert (job["kind"], job["metadata"]["name"]) == ("Job", "python-service-2-sconify-python-service")
    readme = (counter.chart / "README.md").read_text()
    assert "volumeNAME.persistence.existingClaim" in readme and "useSGXDevPlugin" in readme
    pod = job["spec"]["template"]["spec"]
    assert (pod["restartPolicy"], pod["imagePullSecrets"]) == ("Never", [{"name": "regcred"}])


def test_the_image_has_a_link_and_no_plaintext(counter: Counter) -> None:
    must(counter.native.world.sconectl("measure", counter.image))
    created = must(docker("create", counter.image)).out.strip()
    counter.native.world.containers.append(created)
    link = counter.native.world.root / "link"
    must(docker("cp", f"{created}:/V1", link))
    assert str(link.readlink()) == "/scone/memory/volumes/V1"


@dataclass
class Counted:
    """A counter that has been run `number` times; `old` is its storage after the second run, `kept` a newer copy."""

    counter: Counter
    volume: str
    number: int = 3

    @property
    def old(self) -> str:
        return f"{self.volume}-old"

    @property
    def kept(self) -> str:
        return f"{self.volume}-kept"

    def storage(self, script: str, other: str = "") -> str:
        """Run a script on the storage, with the old one, or another copy, at /o."""
        return self.counter.native.shell(self.volume, script, other or self.old)

    def put_back(self) -> None:
        """Undo what was done to the storage since the test began."""
        self.storage("find /s -mindepth 1 -delete && cp -a /o/. /s", self.kept)

    def goes_on(self, *arguments: str) -> None:
        """Count once more: nothing was lost."""
        self.number += 1
        assert self.counter.count(self.volume, *arguments) == self.number

    def refusal(self, change: Callable[[str], None] | None = None) -> str:
        return self.counter.refusal(self.volume, change)


@pytest.fixture(scope="module")
def ran(counter: Counter) -> Iterator[Counted]:
    """Run the counter until it has said 1, 2, 3, with a copy of its storage taken before the last run."""
    found = Counted(counter, f"sconectl-test-{uuid.uuid4().hex[:10]}")
    try:
        assert [counter.count(found.volume), counter.count(found.volume)] == [1, 2]
        found.storage("cp -a /s/. /o")
        assert counter.count(found.volume) == 3
        yield found
    finally:
        counter.native.world.remove_containers()
        docker("volume", "rm", "-f", found.volume, found.old, found.kept)


@pytest.fixture
def three_times(ran: Counted) -> Counted:
    ran.storage("find /o -mindepth 1 -delete && cp -a /s/. /o", ran.kept)
    return ran


@pytest.mark.shows("001.ciphertext", "001.chart")
def test_the_storage_shows_the_name_of_the_file_and_not_what_is_in_it(three_times: Counted) -> None:
    names = three_times.storage("cd /s && find . -type f | sort").split()
    assert {"./num", "./volume.fspf"} <= set(names)
    content = base64.b64decode(three_times.storage("base64 /s/num"))
    assert content and not content.strip().isdigit()
    three_times.goes_on()


ATTACKS = {
    "changed content": ("printf XXXX | dd of=/s/num bs=1 conv=notrunc 2>/dev/null", "/V1/num"),
    "shorter content": ("truncate -s 3 /s/num", "/V1/num"),
    "old content": ("cp -p /o/num /s/num", "/V1/num"),
    "deleted file": ("rm /s/num", "/V1/num"),
    "a directory instead": ("rm /s/num && mkdir /s/num", "/V1/num"),
    "old index": ("cp -p /o/volume.fspf /s/volume.fspf", "V1"),
    "old volume": ("find /s -mindepth 1 -delete && cp -a /o/. /s", "V1"),
    "deleted index": ("rm /s/volume.fspf", "volume.fspf"),
    "deleted volume": ("find /s -mindepth 1 -delete", "volume.fspf"),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.shows("001.old", "attack.changed_volume.001", "attack.old_volume.001")
def test_an_attack_on_the_storage_is_noticed(three_times: Counted, attack: str) -> None:
    """Among them what upstream describes: the content of `num` is copied, and put back after the next run."""
    script, named = ATTACKS[attack]
    three_times.storage(script)
    assert named in three_times.refusal()
    three_times.put_back()
    three_times.goes_on()


@pytest.mark.shows("001.new_volume")
def test_another_new_volume_is_no_way_to_begin_again(three_times: Counted, volume: str) -> None:
    assert "V1" in three_times.counter.refusal(volume)
    three_times.goes_on()


@pytest.mark.shows("001.program", "attack.image.001")
def test_a_changed_program_is_noticed(three_times: Counted) -> None:
    three_times.refusal(flip_encrypted)
    three_times.goes_on()


@pytest.mark.shows("001.engine")
def test_a_changed_interpreter_is_noticed(three_times: Counted) -> None:
    interpreter = three_times.counter.native.interpreter
    log = three_times.refusal(lambda container: flip_file(container, interpreter))
    assert f"changed: {interpreter}" in log
    three_times.goes_on()


@pytest.mark.parametrize("arguments", [("-v", "/tmp/num"), ("python3", "/code/app.py", "-v", "/tmp/num")])
@pytest.mark.shows("001.argument", "attack.arguments.001")
def test_another_argument_changes_nothing(three_times: Counted, arguments: tuple[str, ...]) -> None:
    three_times.goes_on(*arguments)


@pytest.mark.shows("attack.environment.001", "attack.wire.001", "attack.stranger.001")
def test_around_the_job(three_times: Counted, tmp_path: Path) -> None:
    """Started with variables of somebody else, overheard; and somebody without a policy asks the CAS as this one."""
    counter = three_times.counter
    world = counter.native.world
    require_images(world)
    learns_nothing(world, f"{counter.session}/python-service")
    image, words = counter.options(three_times.volume, counter.job("python-service-0"))
    evil = ["-e", "PYTHONPATH=/tmp", "-e", "PYTHONINSPECT=1", "-e", "PYTHONHOME=/tmp", "-e", "HOME=/tmp"]
    with listening("", int(world.address.rpartition(":")[2]), tmp_path) as heard:
        code, log = counter.end_of(image, [*words, *evil, "--network", f"container:{heard.listener}"])
    three_times.number += 1
    assert code == 0 and counted(log) == [three_times.number], log
    assert len(heard.sizes) >= 2 and max(heard.sizes) > 1000 and heard.not_tls() == []
    assert not any(text in heard for text in (counter.session, "/code/app.py"))


@pytest.mark.shows("attack.tag.001")
def test_another_image_under_the_tag(three_times: Counted) -> None:
    with another_under_the_tag(three_times.counter.image):
        assert NOT_TRUSTED in three_times.refusal()
    three_times.goes_on()


@pytest.mark.parametrize("missing", ["/scone/memory", "/scone/volumes/V1"])
def test_the_option_that_is_missing_is_named(counter: Counter, volume: str, missing: str) -> None:
    image, words = counter.options(volume, counter.job("python-service-0"))
    at = next(number for number, word in enumerate(words) if word.startswith((f"{missing}:", f"{volume}:{missing}")))
    del words[at - 1 : at + 1]
    code, log = counter.end_of(image, words)
    option = "--tmpfs /scone/memory" if missing == "/scone/memory" else "-v V1:/scone/volumes/V1"
    assert code == REFUSED and option in log, log


@pytest.mark.parametrize("place", ["/V1", "/scone/memory/volumes/V1"])
def test_plain_storage_at_the_old_place_is_refused_and_not_touched(counter: Counter, volume: str, place: str) -> None:
    counter.native.shell(volume, "echo precious >/s/num")
    image, words = counter.options(f"{volume}-storage", counter.job("python-service-0"))
    try:
        code, log = counter.end_of(image, [*words, "-v", f"{volume}:{place}"])
    finally:
        counter.native.world.remove_containers()
        docker("volume", "rm", "-f", f"{volume}-storage")
    assert code == REFUSED and "something is mounted at /scone/memory/volumes/V1" in log, log
    assert "/scone/volumes/NAME" in log
    assert counter.native.shell(volume, "cat /s/num") == "precious\n"


@pytest.mark.shows("001.installs")
def test_the_readme(walker: World) -> None:
    walk(walker, "counter", {"native-python": f"{walker.prefix('counter')}/native"})
