"""Sessions written by hand go into the CAS with a mesh, and decide who attests."""

from __future__ import annotations

from .world import GREETING, World, must

RULES = """
name: "{{namespace}}/rules"
version: 0.3.12
access_policy: {read: [CREATOR], update: [CREATOR]}
secrets:
  - name: attestation
    kind: config-fragment
    value: {mode: simulation}
    export: [{session: "{{namespace}}/pythonservice"}]
"""


def test_a_fragment_of_an_extra_policy(module_world: World) -> None:
    world = module_world
    project = world.hello()
    mesh = project / "mesh.yaml"
    (project / "rules.yaml").write_text(RULES)
    (project / "debug.yaml").write_text(RULES.replace("/rules", "/debugging"))
    named = "namespace: hello-user\n  attestation_policy_name: hello-user/rules/attestation"
    extra = "extra_policies:\n  - {name: rules.yaml}\n  - {name: debug.yaml, mode: debug}\n"
    mesh.write_text(mesh.read_text().replace("namespace: hello-user", named) + extra)
    must(world.apply_service(project / "service.yaml"))
    shown = must(world.sconectl("plan", "-f", mesh, "--set", f"CAS_URL={world.address}", "--release", "hello"))
    assert "hello-user/rules" in shown.out and "debugging" not in shown.out
    done = must(world.apply_mesh(mesh))
    assert done.out.index("session hello-user/rules: created") < done.out.index("session hello-user/pythonservice: c")
    assert "debugging" not in done.out and "SC2001" not in done.err
    assert (world.target / "policies/extra.hello-user.rules.yaml").is_file()
    assert GREETING in world.log_with(world.start(world.image()), GREETING)
    assert must(world.apply_mesh(mesh)).out.count("unchanged") >= 3

    # What the fragment demands counts: no simulation attests to a policy for hardware.
    (project / "rules.yaml").write_text(RULES.replace("mode: simulation", "mode: hardware"))
    assert "session hello-user/rules: updated" in must(world.apply_mesh(mesh)).out
    code, log = world.finish(world.start(world.image()))
    assert code != 0 and GREETING not in log

    # Faults are shown where they stand, and nothing is done.
    (project / "rules.yaml").write_text(RULES.replace("kind: config-fragment", "kind: fragment"))
    refused = world.apply_mesh(mesh)
    assert refused.code == 4 or refused.code == 3
    assert f"{project / 'rules.yaml'}:7:" in refused.err

    # In modes with encrypted sessions they are encrypted, too.
    (project / "rules.yaml").write_text(RULES.replace("read: [CREATOR]", "read: [NONE]"))
    text = mesh.read_text().replace("cas_url: $CAS_URL", "cas_url: $CAS_URL\n    mode: EncryptedManifest")
    mesh.write_text(text.replace("namespace: hello-user\n", "namespace: sealed-user\n").replace(
        "hello-user/rules/", "sealed-user/rules/"))  # fmt: skip
    must(world.apply_mesh(mesh))
    assert (world.target / "policies/extra.sealed-user.rules.json").is_file()
    world.remove_containers()
