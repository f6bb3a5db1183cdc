"""Writes the generated reference pages; `--check` only tells which are out of date (exit 1).

The pages come from the tables that the program itself uses, so they cannot say anything else.
"""

import ast
import itertools
import sys
from dataclasses import fields
from pathlib import Path

from farsite.assurance.alarms import CATALOGUE
from farsite.lifecycle.verbs import VERBS
from farsite.model.configuration import Service
from farsite.settings import Settings
from farsite.telemetry import REGISTRY
from farsite.vnfs import adapters as shipped
from farsite.vnfs.dictionary import FILE, Dictionary, TakesBack, read
from farsite.vnfs.shipped_evidence import recorded, state_of

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
ADAPTERS = Path(shipped.__file__).parent


def settings() -> str:
    """Every setting with its default and meaning, from the docstrings beside the fields."""
    tree = ast.parse((ROOT / "src" / "farsite" / "settings.py").read_text())
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings").body
    meaning: dict[str, str] = {}
    for field, doc in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(doc, ast.Expr)
            and isinstance(field.target, ast.Name)
        ):
            meaning[field.target.id] = " ".join(ast.literal_eval(doc.value).split())
    rows = [
        f"| `FARSITE_{one.name.upper()}` | {_default(one.name, one.default)} | {meaning[one.name]} |"
        for one in fields(Settings)
    ]
    return _page(
        "Settings",
        "Read from the environment when `farsite serve` starts; its options win.",
        "| variable | default | meaning |\n|---|---|---|",
        rows,
    )


def _default(name: str, value: object) -> str:
    if name == "data_dir":
        return "`$XDG_DATA_HOME/farsite` or `~/.local/share/farsite`"
    return f"`{value}`" if value != "" else ""


def alarms() -> str:
    """Every alarm: what it means and what to do."""
    rows = [
        f"| `{one.name}` | {one.object_kind} | {one.severity} | {one.event_type} | {one.probable_cause} | "
        f"{one.effect} | {one.remedy} |"
        for one in CATALOGUE.values()
    ]
    return _page(
        "Alarms",
        "Every alarm Farsite can raise. Fields as in ETSI GS NFV-SOL 003 clause 7.5, words of ITU-T X.733.",
        "| alarm | of a | severity | event type | probable cause | effect | what to do |\n"
        "|---|---|---|---|---|---|---|",
        rows,
    )


def metrics() -> str:
    """Every metric with its help text."""
    rows = [
        f"| `{family.name}{'_total' if family.type == 'counter' else ''}` | {family.type} | "
        f"{family.documentation} |"
        for family in REGISTRY.collect()
    ]
    return _page(
        "Metrics",
        "Served at `/metrics` in the Prometheus text format.",
        "| metric | type | meaning |\n|---|---|---|",
        sorted(rows),
    )


def verbs() -> str:
    """Every verb with its steps and what undoes them."""
    rows = [
        f"| `{saga.verb}` | {saga.type} | {step.title} | {step.undo_title if step.undo else ''} |"
        for saga in VERBS.values()
        for step in saga.steps
    ]
    return _page(
        "Lifecycle verbs",
        "Steps in their order, as `farsite op show` prints them. A verb without any undo cannot be rolled "
        "back, only retried or failed.",
        "| verb | operation | step | undone by |\n|---|---|---|---|",
        rows,
    )


BY = {
    "shell": "a shell: SSH",
    "ansible": "Ansible: SSH",
    "rest": "HTTPS",
    "netconf": "NETCONF: SSH",
    "function": "its VIM",
}


def adapters() -> str:
    """Every adapter that comes with Farsite, what it can do and what shows it."""
    folders = [read(path.parent) for path in sorted(ADAPTERS.glob(f"*/{FILE}"))]
    rows = [
        f"| `{one.name}` | {one.product} | {one.versions} | {', '.join(one.tried)} | "
        f"{BY[one.method]} | {'no' if one.method == 'function' else 'yes'} | "
        f"{', '.join(sorted(one.services))} | {', '.join(sorted(one.verbs))} | {one.atomicity} | "
        f"{state_of(one.name, ADAPTERS / one.name)} |"
        for one in (folder.about for folder in folders)
    ]
    details = [
        f"\n## {folder.about.name}\n\n{folder.about.description}\n\n| parameter | default |\n|---|---|\n"
        + "\n".join(f"| `{name}` | {f'`{value}`' if value else ''} |" for name, value in parameters.items())
        + _places(folder.dictionary)
        + _shown_by(folder.dictionary.name)
        for folder in folders
        for parameters in [folder.parameters({})]
    ]
    return _page(
        "Adapters",
        "What manages the inside of functions. *Proved*: the conformance kit has passed on the real product\n"
        "that day, of the very content that is here (*tried* says on which versions); every check of it is\n"
        "also a test (`tests/vnfs/test_conformance.py`).\n"
        "*Emulated*: the adapter has met only what was built from the vendor's documents.\n"
        "*Stale*: it was changed since that day, and `make evidence` was not run.\n"
        "`farsite adapter verify` tries any of them on a device of yours.\n\n"
        "*Brokered* is what a broker can manage in Farsite's place: whatever has an address, and is known\n"
        "there by a host key or certificate. Functions of Farsite's own have neither. They answer on the\n"
        "loopback inside their VNFC alone, so no network leads to them and nobody has to log in. Their VIM\n"
        "opens a stream to there, and whoever may ask a VIM for that may also end what runs on it: no right\n"
        "for a broker's token, so Farsite manages them itself (`--vnfc`).\n",
        "| adapter | product | for | tried | by | brokered | services | verbs | a change is | state |\n"
        "|---|---|---|---|---|---|---|---|---|---|",
        rows + details,
    )


def _places(dictionary: Dictionary) -> str:
    places = f"\n\nPlaces of native text: {', '.join(f'`{one.name}`' for one in dictionary.places)}."
    if dictionary.access.method in ("shell", "ansible"):
        return places
    by_itself = dictionary.takes_back is TakesBack.ITSELF
    least = f", after at least {dictionary.confirm_least_s:g} s" if dictionary.confirm_least_s > 1 else ""
    native = places if Service.NATIVE in dictionary.services else ""
    return (
        f"{native}\n\nAn unconfirmed change is taken back: "
        f"{'by the device itself' if by_itself else dictionary.takes_back}{least}."
    )


def _shown_by(name: str) -> str:
    record = recorded().get(name)
    if record is None:
        return ""
    return f"\n\nShown by: {record.suite}, {record.at:%Y-%m-%d}, of `{record.digest[:16]}`: {record.detail}."


def _page(title: str, about: str, head: str, rows: list[str]) -> str:
    return f"# {title}\n\n{about}\nThis page is generated: `make docs`.\n\n{head}\n" + "\n".join(rows) + "\n"


GENERATED = {
    "settings.md": settings,
    "alarms.md": alarms,
    "metrics.md": metrics,
    "verbs.md": verbs,
    "adapters.md": adapters,
}


def main() -> int:
    stale: list[str] = []
    for name, make in GENERATED.items():
        path, text = PAGES / name, make()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    for name in stale:
        print(f"docs/reference/{name} {'is out of date: make docs' if '--check' in sys.argv else 'written'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
