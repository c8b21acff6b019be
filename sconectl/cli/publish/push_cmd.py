"""`sconectl push`: the images of a mesh, and its chart, into image registries.

In: a mesh manifest, the target directory, and where the chart goes. Out: lines on stdout.
"""

from __future__ import annotations

import re
from typing import Annotated

import typer

from sconectl.cli.options.apply_options import ApplyOptions
from sconectl.cli.options.groups import Only, grouped
from sconectl.cli.output.console import Console, note, result
from sconectl.errors import UsageError

_SCHEME = "oci://"
_PLACE = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")


@grouped
def push(
    destination: Annotated[str, typer.Argument(metavar="oci://REGISTRY/PATH", help="Where the chart goes.")],
    options: Annotated[
        ApplyOptions,
        Only(
            "files target policy_namespace set_ set_version env_file max_size",
            target="Where `apply` wrote the chart.",
        ),
    ],
) -> None:
    """Push the images of a mesh to their registries, and its chart to one.

    The chart is that of the target directory, under its own name and version,
    with its images named by digest;
    `helm install NAME oci://REGISTRY/PATH/CHART` takes it from there. What is
    there already is left alone, and a version with another content is refused.
    """
    from sconectl.apply.copies.push import chart_in, push_chart, push_images
    from sconectl.cli.options.manifest_files import read_mesh
    from sconectl.cli.wiring import Wiring
    from sconectl.plan.facts.naming import with_tag
    from sconectl.plan.mesh.mesh_input import deployed_image

    place = destination.removeprefix(_SCHEME).rstrip("/")
    if place == destination.rstrip("/") or not _PLACE.fullmatch(place):
        raise UsageError(
            f"{destination!r} is no place for a chart", hint="give it like oci://registry.example.org/charts"
        )
    _, mesh = read_mesh(options)
    wiring, console = Wiring(options.target), Console()
    chart_in(wiring.workspace, {})  # raises before anything is pushed if there is none
    images = [deployed_image(mesh, with_tag(service.image)) for service in mesh.services]
    with console.working():
        done = list(push_images(images, wiring.engine, wiring.registry, console.step, console.detail))
        chart = chart_in(wiring.workspace, {(one.reference, one.measurement): one.digest for one in done})
        done.append(push_chart(chart, place, wiring.registry, console.step))
    for one in done:
        result(f"{one.reference}: {'pushed' if one.changed else 'unchanged'}{f' {one.digest}' if one.digest else ''}")
    note(f"install with: helm install RELEASE {_SCHEME}{place}/{chart.name} (version {chart.version})")
