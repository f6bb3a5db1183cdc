"""The user guide: every command in it is typed here as it is printed, in the order of its page."""

from collections.abc import Callable, Iterator

import pytest
import yaml
from laboratory import LabSite
from tenancy import Project

import standard_client
from guide_pages import GUIDE, Reader, Step, is_as_printed, pages, read_page

FIRST = "first-vnf.md"
LONG = frozenset({"services.md", "troubleshooting.md"})
REGISTERED = "<!-- registered -->"
"""Where the first page has the VIMs registered and the package onboarded: other pages begin there."""


@pytest.fixture
def reader(site1: LabSite, site2: LabSite, make_project: Callable[[LabSite], Project]) -> Iterator[Reader]:
    """Somebody with a `clouds.yaml` of two clouds, west and east, each with a project of its own."""
    west, east = make_project(site1), make_project(site2)
    clouds = {
        name: {"auth": project.account.auth, "region_name": project.site.region}
        for name, project in (("west", west), ("east", east))
    }
    clouds["east-admin"] = {"auth": site2.admin.auth, "region_name": site2.region}
    someone = Reader(
        files={"clouds.yaml": yaml.safe_dump({"clouds": clouds}), "east.password": east.account.password},
        names={
            "RegionOne": site1.region,
            "RegionTwo": site2.region,
            "EAST_AUTH_URL": site2.auth_url,
            "EAST_HTTPS_URL": site2.auth_url.replace("http:", "https:"),
            "EAST_PROJECT": east.account.project_name,
            "CATALOGUE_NAME": west.account.project_name,
        },
        programs={"openstack": standard_client.install()},
    )
    yield someone
    someone.leave()


def test_a_newcomer_gets_from_a_clouds_yaml_to_a_vnf_on_two_sites(reader: Reader) -> None:
    """The first page asks for nothing that it does not say, and leaves nothing behind on either site."""
    reader.follow(read_page(FIRST))


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
        for name in pages()
        if name != FIRST
    ],
)
def test_every_command_of_the_guide_does_what_its_page_says(reader: Reader, page: str) -> None:
    """A guide that was right once misleads for ever: what it prints is what happens."""
    reader.follow(read_page(FIRST, until=REGISTERED))
    reader.follow(read_page(page))


def test_every_page_is_reached_from_the_first() -> None:
    """A page that nothing leads to is not part of the guide."""
    first = (GUIDE / FIRST).read_text()
    for path in GUIDE.glob("*.md"):
        assert path.name == FIRST or f"({path.name})" in first


@pytest.mark.parametrize(
    ("printed", "seen", "is_so"),
    [
        (("a  b",), "a b\n", True),
        (("a ... c",), "a x y c\n", True),
        (("...", "c"), "a\nb\nc\n", True),
        (("c",), "a\nc\n", False),
        (("a ...",), "b\n", False),
    ],
)
def test_what_a_page_prints_is_compared_as_said(printed: tuple[str, ...], seen: str, is_so: bool) -> None:
    """A comparison that takes anything would prove nothing of the guide."""
    assert is_as_printed(printed, seen) is is_so


def test_commands_are_read_with_their_continuation_and_their_exit(tmp_path, monkeypatch) -> None:
    """A command that the reader of pages overlooks is one that nobody tries."""
    monkeypatch.setattr("guide_pages.GUIDE", tmp_path)
    text = "x\n```console exit=3\n$ one \\\n> two\nprinted\n$ three\n```\n$ not one\n"
    (tmp_path / "a.md").write_text(text)
    assert read_page("a.md") == [
        Step(page="a.md", line=3, command="one \\\ntwo", printed=("printed",), exit_code=3),
        Step(page="a.md", line=6, command="three", exit_code=3),
    ]
