"""`farsite package`: VNF packages."""

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from farsite.cli import documents, printing
from farsite.cli.printing import Filter, Form, Limit, Output
from farsite.client import Client, Package, Vnfd

app = App(name="package", help="VNF packages: onboard, look at, enable, delete.", help_epilogue="")

Key = Annotated[str, Parameter(help="Id, VNFD id or product name of the package.")]


@app.command
def onboard(
    archive: Annotated[Path, Parameter(help="SOL004 archive, or a directory with its files.")],
    /,
    *,
    image: Annotated[
        list[str] | None,
        Parameter(
            help="NAME=VIM-IMAGE: use this image of the VIM for an image of the descriptor. Repeatable."
        ),
    ] = None,
    keep_refused: Annotated[bool, Parameter(help="Keep a refused package, in state ERROR.")] = False,
    output: Output = "table",
) -> None:
    """Onboard a package: it is read whole, and is usable at once or refused with every fault named."""
    with Client() as client, documents.archive_of(archive) as packed:
        package = client.onboard_package(packed, images=image or [], keep_refused=keep_refused)
        for warning in package["warnings"]:
            printing.note(f"Warning: {warning}")
        _show(package, None, output)


@app.command(name="list")
def list_(*, filter: Filter = "", limit: Limit = 100, output: Output = "table") -> None:
    """List the packages."""
    with Client() as client:
        printing.table(
            client.packages(filter=filter, limit=limit),
            [
                ("product", lambda one: one["product_name"] or "-"),
                ("version", lambda one: one["software_version"] or "-"),
                ("provider", lambda one: one["provider"] or "-"),
                ("state", lambda one: one["state"]),
                ("use", lambda one: f"{one['operational_state']}, {one['usage_state']}"),
                ("created", lambda one: printing.when(one["created_at"])),
                ("id", lambda one: one["id"]),
            ],
            output,
            nothing="No package is onboarded. Onboard one: farsite package onboard FILE",
        )


@app.command
def show(package: Key, /, *, output: Output = "table") -> None:
    """Show a package and what its descriptor offers: flavours, levels, VNFC counts, connection points."""
    with Client() as client:
        found = client.package(package)
        vnfd = client.vnfd(found["id"]) if found["state"] == "ONBOARDED" else None
        _show(found, vnfd, output)


def _show(package: Package, vnfd: Vnfd | None, form: Form) -> None:
    body: object = package if vnfd is None else {**package, "vnfd": vnfd}
    printing.facts(
        body,
        [
            ("product", f"{package['product_name']} {package['software_version']}".strip()),
            ("provider", package["provider"]),
            ("id", package["id"]),
            ("VNFD", package["vnfd_id"]),
            ("state", f"{package['state']}, {package['operational_state']}, {package['usage_state']}"),
            ("created", printing.when(package["created_at"])),
            ("warnings", "\n".join(package["warnings"])),
            ("faults", "\n".join(str(fault) for fault in package["failure"])),
            ("description", vnfd["description"] if vnfd else ""),
            ("flavours", "\n".join(_flavours(vnfd)) if vnfd else ""),
        ],
        form,
    )


def _flavours(vnfd: Vnfd) -> list[str]:
    lines: list[str] = []
    for name, flavour in vnfd["flavours"].items():
        default = " (default)" if name == vnfd["default_flavour"] else ""
        lines.append(f"{name}{default}: {_counts(flavour['vnfcs_at_first'])}")
        for level, size in flavour["levels"].items():
            mark = " (default)" if level == flavour["default_level"] else ""
            lines.append(f"  level {level}{mark}: {_counts(size['vnfcs'])}")
        for aspect, limits in flavour["aspects"].items():
            lines.append(f"  scales along {aspect}: levels 0 to {limits['max_scale_level']}")
        if flavour["external_cps"]:
            lines.append(f"  connection points: {', '.join(flavour['external_cps'])}")
        if flavour["lifecycle_scripts"]:
            lines.append(f"  scripts that are not run: {', '.join(flavour['lifecycle_scripts'])}")
    return lines


def _counts(vnfcs: dict[str, int]) -> str:
    each = ", ".join(f"{count} {vdu}" for vdu, count in vnfcs.items())
    return f"{sum(vnfcs.values())} VNFC(s) ({each})"


@app.command
def enable(package: Key, /, *, output: Output = "table") -> None:
    """Allow instances to be made of a package."""
    with Client() as client:
        _show(client.change_package(package, "ENABLED"), None, output)


@app.command
def disable(package: Key, /, *, output: Output = "table") -> None:
    """Allow no more instances to be made of a package; those that are stay."""
    with Client() as client:
        _show(client.change_package(package, "DISABLED"), None, output)


@app.command
def delete(package: Key, /) -> None:
    """Delete a package of which there are no instances."""
    with Client() as client:
        client.delete_package(package)


@app.command
def samples(
    directory: Annotated[Path, Parameter(help="Where to write them; made if it is not there.")],
    /,
) -> None:
    """Write the built-in packages and the service that chains them as archives."""
    from farsite.functions.packaging import build_sample, sample_names

    directory.mkdir(parents=True, exist_ok=True)
    for name in sample_names():
        path = directory / f"{name}.zip"
        path.write_bytes(build_sample(name))
        printing.write(str(path))
