"""`farsite vnf upgrade` and `farsite vnf software`: the software inside VNF instances."""

from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import printing, stages
from farsite.cli.exit_codes import Exit
from farsite.cli.printing import Form, Output
from farsite.cli.waiting import Timeout, accepted
from farsite.client import Client
from farsite.model.errors import Invalid

app = App(
    name="software",
    help="The software inside a VNF: what lies there and runs, and what became of upgrades.",
    help_epilogue="",
)
Key = Annotated[str, Parameter(help="Name or id of the VNF instance.")]


def upgrade(
    vnf: Annotated[str, Parameter(help="Name or id of the VNF instance.")],
    /,
    *more: Annotated[str, Parameter(help="Further VNF instances, for an upgrade in stages.")],
    image: Annotated[
        str,
        Parameter(help="Address (http, https) of the image; or, with --package, its path in the package."),
    ] = "",
    sha256: Annotated[str, Parameter(help="Digest of the image, as sha256sum prints it.")] = "",
    package: Annotated[str, Parameter(help="VNF package that the image is a file of.")] = "",
    version: Annotated[
        str,
        Parameter(
            help="Without an image: a version that lies on the device, such as the one of before. With an "
            "image: the version that must be in it."
        ),
    ] = "",
    stage: Annotated[
        str,
        Parameter(
            help="How many are upgraded after each stage: one, some (a quarter), all, counts or shares, such "
            "as 1,25%,100%."
        ),
    ] = "one,some,all",
    pause: Annotated[
        float, Parameter(help="Seconds between two stages; then all upgraded ones must be well.")
    ] = 30.0,
    rollback: Annotated[
        bool,
        Parameter(
            help="Once one of several fails, bring the version of before back on all; otherwise the "
            "operation rests until somebody decides."
        ),
    ] = False,
    repair: Annotated[bool, Parameter(help="The function may be unwell before: this is to mend it.")] = False,
    cause: Annotated[str, Parameter(help="Why, for the history.")] = "",
    confirm_within: Annotated[
        float | None,
        Parameter(help="Seconds that the version stands unconfirmed before the device takes it back."),
    ] = None,
    well_within: Annotated[
        float | None, Parameter(help="Seconds that the function may take to be well; none: half of that.")
    ] = None,
    wait: Annotated[
        bool | None,
        Parameter(
            name="--wait",
            negative="--no-wait",
            help="Wait until the operation has ended or rests; of several VNFs it is waited for anyway.",
        ),
    ] = None,
    timeout: Timeout = None,
    output: Form = "table",
) -> Exit:
    """Have another version of its software run inside a VNF, or the version and configuration of before.

    Several VNFs are upgraded in stages, by one operation that goes on without this command; the first that
    fails stops the rest.
    """
    body: dict[str, object] = {
        "image": _image(image, sha256, package),
        "version": version,
        "is_repair": repair,
        "cause": cause,
        "confirm_within_s": confirm_within,
        "well_within_s": well_within,
    }
    with Client() as client:
        if not more:
            operation = client.upgrade(vnf, body)
            return accepted(client, operation, wait=bool(wait), form=output, timeout_s=timeout)
        group = body | {
            "vnfs": list(dict.fromkeys((vnf, *more))),
            "stages": stage.split(","),
            "pause_s": pause,
            "rolls_back": rollback,
        }
        operation = client.upgrade_group(group)
        return stages.until_ended(client, operation, wait=wait is not False, form=output, timeout_s=timeout)


@app.command
def show(vnf: Key, /, *, output: Output = "table") -> None:
    """Show which versions lie on the device, and which runs. The device is asked."""
    with Client() as client:
        found = client.software_of(vnf)
        if output != "table":
            printing.document(found, output)
            return
        printing.table(
            found["installed"],
            [
                ("version", lambda one: one["version"]),
                ("runs", lambda one: "yes" if one["version"] == found["running"] else ""),
                ("before", lambda one: "yes" if one["version"] == found["previous"] else ""),
                ("image (sha256)", lambda one: one["sha256"][:12]),
            ],
            output,
        )


@app.command
def history(vnf: Key, /, *, output: Output = "table") -> None:
    """List every upgrade of the VNF, and what became of it."""
    with Client() as client:
        printing.table(
            client.upgrades_of(vnf),
            [
                ("at", lambda one: printing.when(one["started_at"])),
                ("state", lambda one: one["state"]),
                ("from", lambda one: one["from_version"]),
                ("to", lambda one: one["to_version"]),
                ("runs", lambda one: one["running_version"]),
                ("by", lambda one: one["requested_by"]),
                ("cause", lambda one: one["said"] or one["cause"]),
            ],
            output,
        )


def _image(image: str, sha256: str, package: str) -> dict[str, object] | None:
    if package:
        if not image:
            raise Invalid("Name the image's path in the package with --image.")
        return {"package": package, "path": image, "sha256": sha256}
    if not image:
        return None
    if not sha256:
        raise Invalid("An image at an address needs its digest: --sha256, as sha256sum prints it.")
    return {"url": image, "sha256": sha256}
