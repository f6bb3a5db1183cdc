"""The tree itself: what a stranger relies on when looking for where something lives."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
SOURCES = CHECKOUT / "src"
# A module of such a name is where everything ends up that nobody found the word for.
NAMELESS = {"util", "utils", "common", "core", "helper", "helpers", "misc", "manager", "managers"}
NAMELESS |= {"service", "services"}


@cache
def files() -> list[Path]:
    """What belongs to the project: what git tracks or would track, else all but what tools leave."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [path for name in listed.stdout.splitlines() if (path := CHECKOUT / name).is_file()]
    places = ("src", "tests", "tools", "demo", "bench", "docs")
    return [
        path
        for place in places
        for path in (CHECKOUT / place).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def programs(*places: str) -> list[Path]:
    return [
        path
        for path in files()
        if path.suffix == ".py" and (not places or path.relative_to(CHECKOUT).parts[0] in places)
    ]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def shown(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(CHECKOUT)) for path in paths]


def texts() -> Iterator[tuple[Path, str]]:
    for path in files():
        if path.name == "uv.lock":
            continue
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A function without a home means a missing domain word."""
    assert shown([path for path in programs() if NAMELESS & {path.stem, *path.parent.parts[-3:]}]) == []


def test_every_module_says_what_it_is_for() -> None:
    """The docstring is where the idea stands, and the choice not taken."""
    silent = [path for path in programs() if path.stat().st_size and not ast.get_docstring(parsed(path))]
    assert shown(silent) == []


def test_every_test_says_why_it_matters() -> None:
    """Whoever breaks a test must be able to judge whether the test or the change is wrong."""
    silent = [
        f"{path.relative_to(CHECKOUT)}::{node.name}"
        for path in programs("tests")
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert silent == []


def test_every_module_is_reached_from_where_a_program_starts() -> None:
    """What nothing imports is dead, or a feature that nobody can use."""
    modules = {_dotted(path): path for path in programs("src")}
    reached: set[str] = set()
    waiting = [name for name, path in modules.items() if _is_start(name, path)]
    assert waiting
    # An adapter's dictionary names the module that the registry's user loads.
    waiting += [
        name
        for path in (SOURCES / "farsite/vnfs/adapters").glob("*/adapter.yaml")
        for name in re.findall(r"^module: (\S+)$", path.read_text(), re.MULTILINE)
    ]
    while waiting:
        name = waiting.pop()
        if name in reached or name not in modules:
            continue
        reached.add(name)
        waiting += [name.rpartition(".")[0]]
        for node in ast.walk(parsed(modules[name])):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                # Started as a program of its own (`python -m farsite....`), or loaded by its name, of
                # which the end may be put in later (`f"farsite.cli.{noun}:app"`).
                named = node.value.partition(":")[0]
                if named.startswith("farsite.") and named.endswith("."):
                    waiting += [module for module in modules if module.startswith(named)]
                elif named.startswith("farsite."):
                    waiting.append(named)
    # A layer that holds nothing but its announcement is not dead, it is not yet born.
    programmed = {name for name, path in modules.items() if len(parsed(path).body) > 1}
    assert sorted(programmed - reached) == []


def _dotted(path: Path) -> str:
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _is_start(name: str, path: Path) -> bool:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    announced = [*project["scripts"].values()]
    for group in project["entry-points"].values():
        announced += group.values()
    return (
        name in {entry.partition(":")[0] for entry in announced}
        # Programs: built-in functions are files that a VDU runs, migrations are found by their directory.
        or name.endswith("__main__")
        or name.startswith(("farsite.functions.", "farsite.store.migrations."))
        or 'if __name__ == "__main__":' in path.read_text()
    )


def test_only_tests_name_the_references_beside_the_checkout() -> None:
    """Users do not have them."""
    # Written so that this line does not name them itself.
    name = "/".join(("..", "shared"))
    naming = [path for path, text in texts() if name in text]
    assert shown([path for path in naming if "tests" not in path.relative_to(CHECKOUT).parts]) == []


def test_nothing_names_a_directory_of_somebodys_machine() -> None:
    """It works there and nowhere else, and tells the world how the machine is laid out."""
    homes = re.compile(r"/(?:home|Users)/(?!USER\b)[a-z][\w.-]*/")
    own = str(CHECKOUT) + "/"
    found = [path for path, text in texts() if own in text or homes.search(text)]
    assert shown(found) == []


def test_the_lock_file_is_that_of_the_project() -> None:
    """A dependency that was declared and not locked is missing in every fresh checkout."""
    uv = CHECKOUT / ".build" / "uv" / "bin" / "uv"
    if not uv.exists():
        pytest.skip("uv is not in .build; make setup puts it there")
    done = subprocess.run([uv, "lock", "--check"], cwd=CHECKOUT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_licence_is_there_in_full() -> None:
    """Without it nobody may use any of this."""
    text = (CHECKOUT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
