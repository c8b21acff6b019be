"""A shop is changed eight times while customers go on asking; each change does what `sconectl plan` foretold."""

from __future__ import annotations

import json
import shutil
import ssl
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from .story.cluster import Cluster, Pod, PodTemplate, templates
from .story.customers import Customers, ask, trusting
from .story.foretold import Digests, Foretold
from .story.shop import NAMESPACE, RELEASE, Addresses, Shop
from .world import Outcome, World, docker, must, run, snapshot


class Clone:
    """The manifests and the lock as somebody has checked them out; `target/` is theirs alone."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.folder = world, world.root / name
        self.folder.mkdir()
        shutil.copy(world.root / "sconectl.toml", self.folder)

    @property
    def chart(self) -> Path:
        return self.folder / "target" / "helm"

    def sconectl(self, *words: str) -> Outcome:
        return self.world.sconectl(*words, cwd=self.folder)

    def plan(self, *words: str) -> Foretold:
        done = must(self.sconectl("plan", "-f", ".", "--release", RELEASE, "--output", "json", *words))
        return Foretold.read(json.loads(done.out))

    def lose_target(self) -> None:
        shutil.rmtree(self.folder / "target")

    def apply(self, *words: str, files: str = ".") -> Outcome:
        return self.sconectl("apply", "-f", files, "-n", "--release", RELEASE, *words)

    def pull(self, other: Clone) -> None:
        for file in (*other.folder.glob("*.yaml"), *other.folder.glob("*.py"), other.folder / "sconectl.lock"):
            shutil.copy(file, self.folder)


class Story:
    """The shop as it is, and what its people know of it.

    `digests` are those of the pods that started last, `applied` is what the last apply said.
    """

    def __init__(self, world: World, cluster: Cluster) -> None:
        self.world, self.cluster = world, cluster
        self.mine, self.colleague = Clone(world, "mine"), Clone(world, "colleague")
        at = {kind: service.address for kind, service in cluster.services.items()}
        self.address = at["web"]
        self.shop = Shop(Addresses(world.address, at["store"], at["api"], f"sconectl-test/{world.name}-"))
        self.pods: dict[str, PodTemplate] = {}
        self.digests: Digests = {}
        self.applied = ""
        self.customers: Customers

    def opens(self) -> Customers:
        self._write(self.shop)
        must(self.mine.apply())
        self.pods = templates(self.mine.chart)
        started = self.cluster.start_all(self.pods)
        for pod in started.values():
            self.cluster.roll_out(pod)
        self.digests = {pod.template.session: pod.digests for pod in started.values()}
        first = trusting(self.authority())
        self.customers = Customers(self.address, self.shop.host_names[0], first, first)
        return self.customers

    def authority(self) -> str:
        """Return the certificate that the CAS shows to everybody."""
        url = f"https://{self.world.address}/v1/values/session={NAMESPACE}/store,secret=ca"
        return str(json.loads(must(run(["curl", "-sSk", "--fail", url])).out)["value"])

    def changes(
        self,
        shop: Shop,
        *words: str,
        replaces: set[str],
        weakens: Collection[str] = (),
        between: Callable[[], None] = lambda: None,
    ) -> Foretold:
        """Apply manifests that say something else, and roll out those pods whose template is another one, no others.

        `between` happens after the plan and before the apply.
        """
        answered = len(self.customers.answers)
        self._write(shop)
        foretold = self.mine.plan(*words)
        assert foretold.weakens == set(weakens)
        between()
        self.applied = must(self.mine.apply(*words)).out
        self.customers.now = trusting(self.authority())
        before, self.pods = self.pods, templates(self.mine.chart)
        assert {name for name, pod in self.pods.items() if pod != before.get(name)} == replaces
        self._start_all(foretold, replaces)
        self._same_for_the_colleague()
        self.customers.answered_since(answered)
        return foretold

    def starts(self, template: PodTemplate) -> dict[str, str]:
        """Start a pod; return the digests of its secrets."""
        pod = self.cluster.start(template)
        self.cluster.stop(pod)
        return pod.digests

    def _write(self, shop: Shop) -> None:
        self.shop = shop
        shop.write(self.mine.folder)

    def _start_all(self, foretold: Foretold, replaces: set[str]) -> None:
        """Start a pod of each service, and compare what it has with what was foretold; it stays where it has to."""
        started = self.cluster.start_all(self.pods)
        digests = {pod.template.session: pod.digests for pod in started.values()}
        foretold.came_true(self.digests, digests)
        self.digests = digests
        for name, pod in started.items():
            if name in replaces:
                self.cluster.roll_out(pod)
            else:
                self._needs_no_restart(pod, foretold.certificates)
                self.cluster.stop(pod)

    def _needs_no_restart(self, fresh: Pod, certificates: set[str]) -> None:
        for pod in self.cluster.services[fresh.template.kind].pods:
            assert _without(pod.digests, certificates) == _without(fresh.digests, certificates)

    def _same_for_the_colleague(self) -> None:
        """The same manifests and the same lock make the same chart, whatever else there is."""
        self.colleague.pull(self.mine)
        done = must(self.colleague.apply(files="mesh.yaml"))
        assert done.out.count(": unchanged (CAS") == 1 + len(self.shop.services), done.out
        assert "sconectl.lock: unchanged" in done.out
        assert _content(self.colleague.chart) == _content(self.mine.chart)


def _without(digests: dict[str, str], names: set[str]) -> dict[str, str]:
    return {name: digest for name, digest in digests.items() if name not in names}


def _content(folder: Path) -> dict[str, bytes]:
    return {name: content for name, (content, _) in snapshot(folder).items()}


@pytest.fixture
def story(world: World) -> Iterator[Story]:
    for image in ("nginx", "redis"):
        if docker("image", "inspect", f"sconectl-test-image/{image}").code != 0:
            pytest.skip(f"there is no image of {image}; `make test` makes it where Debian packages can be had")
    cluster = Cluster(world)
    yield Story(world, cluster)
    cluster.close()


def test_eight_changes_while_customers_go_on_asking(story: Story) -> None:
    with story.opens():
        nobody_gets_in_without_a_certificate(story)
        a_variable_changes(story)
        the_heap_grows_and_a_token_gets_longer(story)
        a_certificate_gets_a_name(story)
        a_secret_is_shared(story)
        a_secret_is_shared_no_longer(story)
        two_services_are_renamed(story)
        a_version_is_rolled_out(story)
        a_version_is_taken_back(story)


def nobody_gets_in_without_a_certificate(story: Story) -> None:
    for kind in ("api", "store"):
        address = story.cluster.services[kind].address
        with pytest.raises((OSError, ValueError)) as refused:
            ask(address, "/", story.customers.now, f"{kind}.shop")
        assert not isinstance(refused.value, ssl.SSLCertVerificationError)  # the other side did not want us


def a_variable_changes(story: Story) -> None:
    foretold = story.changes(replace(story.shop, greeting="good evening"), replaces={"api"})
    assert foretold.fate("api", "token")["fate"] == "kept"
    assert story.customers.answers[-1]["greeting"] == "good evening"


def the_heap_grows_and_a_token_gets_longer(story: Story) -> None:
    """The heap is measured; the token is another one, which has to be allowed."""
    longer = replace(story.shop, heap="256M", token_size=32)
    longer.write(story.mine.folder)
    lock = (story.mine.folder / "sconectl.lock").read_bytes()
    assert story.mine.plan().losses == ["api/token"]
    refused = story.mine.apply()
    assert refused.code == 7
    assert "secret token of session shop/api is in use, and would be drawn anew: its size was 20" in refused.err
    assert (story.mine.folder / "sconectl.lock").read_bytes() == lock
    foretold = story.changes(longer, "--allow-secret-loss", "api/token", replaces={"api"})
    assert foretold.fate("api", "token")["fate"] == "drawn anew"


def a_certificate_gets_a_name(story: Story) -> None:
    """Another certificate for the same key: only the pods of nginx have to have it."""
    new = "www.shop.example.org"
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(story.address, "/ping", story.customers.now, new)
    named = replace(story.shop, host_names=(*story.shop.host_names, new))
    foretold = story.changes(named, replaces={"web"}, weakens=["SC5058"])
    fates = {name: foretold.fate("store", name)["fate"] for name in ("web_cert", "web_key", "ca", "ca_key")}
    assert fates == {"web_cert": "issued anew", "web_key": "kept", "ca": "issued anew", "ca_key": "kept"}
    for trust in (story.customers.at_first, story.customers.now):
        assert ask(story.address, "/ping", trust, new) == ["+OK", "+PONG"]


def a_secret_is_shared(story: Story) -> None:
    """Somebody has lost their target directory meanwhile, and the colleague has not: that makes no difference."""
    shared = replace(story.shop, web_has_token=True)
    lost = story.mine.lose_target
    foretold = story.changes(shared, replaces={"web"}, weakens=["SC5041", "SC5046"], between=lost)
    assert foretold.fate("api", "token")["gains"] == ["session shop/web"]


def a_secret_is_shared_no_longer(story: Story) -> None:
    foretold = story.changes(replace(story.shop, web_has_token=False), replaces={"web"})
    assert foretold.fate("api", "token")["loses"] == ["session shop/web"]


def two_services_are_renamed(story: Story) -> None:
    """One service keeps its session; the other gets a new one, and the old one goes when nothing needs it any more."""
    old = story.pods["web"]
    renamed = replace(story.shop, api_is_called="desk", web_is_called="front")
    foretold = story.changes(renamed, replaces={"desk", "front"}, weakens=["SC5041"])
    assert foretold.fate("api", "token")["fate"] == "kept"
    fate = foretold.fate("store", "web_key")
    assert (fate["fate"], fate["gains"], fate["loses"]) == ("kept", ["session shop/front"], ["session shop/web"])
    assert "session shop/web: retired" in must(story.mine.apply("--prune")).out
    story.cluster.refused(old)


def a_version_is_rolled_out(story: Story) -> None:
    """Pods of both versions start until the rollout is finished."""
    old = story.pods["desk"]
    story.changes(replace(story.shop, release="two"), "--rolling", replaces={"desk"})
    assert story.customers.answers[-1]["release"] == "two"
    assert story.starts(old) == story.digests["api"]
    must(story.mine.apply("--finish"))
    assert "Service not found" in story.cluster.refused(old)


def a_version_is_taken_back(story: Story) -> None:
    """So do they on the way back; the manifests of the version before then change no session."""
    new, secrets = story.pods["desk"], story.digests["api"]
    done = must(story.mine.sconectl("rollback", "-f", "mesh.yaml"))
    assert "session shop/api: taken back to " in done.out
    story.changes(replace(story.shop, release="one"), replaces={"desk"})
    assert "session shop/api: unchanged" in story.applied
    assert story.customers.answers[-1]["release"] == "one"
    assert story.starts(new) == story.digests["api"] == secrets
    must(story.mine.apply("--finish"))
    assert "Service not found" in story.cluster.refused(new)
