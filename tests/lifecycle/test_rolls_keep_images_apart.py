"""While a package is changed, each VNFC stands on the image of the package that it is of."""

from farsite.lifecycle.rolling import Swap, batches_of, with_images_of_both
from farsite.model.deployment import ImageFile, Volume, WantedVnfc
from farsite.model.ids import VnfcId


def vnfc(name: str, image: str = "disk", **more: object) -> WantedVnfc:
    return WantedVnfc(id=VnfcId(name), vdu="worker", image=image, **more)  # type: ignore[arg-type]


def file(name: str, sha256: str) -> ImageFile:
    return ImageFile(name=name, sha256=sha256, path=f"/{sha256}")


OLD, NEW = file("disk", "a" * 64), file("disk", "b" * 64)


def digests(vnfcs: tuple[WantedVnfc, ...], files: tuple[ImageFile, ...]) -> list[str]:
    known = {one.name: one.sha256 for one in files}
    assert len(known) == len(files), "two files of one name"
    return [known[one.image][0] for one in vnfcs]


def test_images_of_one_name_are_told_apart_until_the_last_batch() -> None:
    """Else the first batch would have the VIM replace every VNFC at once."""
    standing = (vnfc("0"), vnfc("1", volumes=(Volume(name="v", size_gib=1, image="disk"),)), vnfc("2"))
    files: tuple[ImageFile, ...] = (OLD,)
    seen: list[list[str]] = []
    for number in range(3):
        fresh = vnfc(str(number))
        wish = tuple(fresh if one.id == fresh.id else one for one in standing)
        standing, files = with_images_of_both(wish, files, (NEW,), fresh=frozenset({fresh.id}))
        seen.append(digests(standing, files))
    assert seen == [["b", "a", "a"], ["b", "b", "a"], ["b", "b", "b"]]
    assert files == (NEW,)
    assert standing == (vnfc("0"), vnfc("1"), vnfc("2"))


def test_a_way_back_ends_with_the_files_from_before() -> None:
    """The next heal or scaling knows its images by the names of its package."""
    standing, files = with_images_of_both(
        (vnfc("0"), vnfc("1")), (OLD,), (NEW,), fresh=frozenset({VnfcId("0")})
    )
    back, again = with_images_of_both(
        (vnfc("0"), *standing[1:]), files, (OLD,), fresh=frozenset({VnfcId("0")})
    )
    assert digests(back, again) == ["a", "a"]
    assert OLD in again


def test_files_of_other_names_stay_as_long_as_one_needs_them() -> None:
    """And no longer: a VIM is not given what nobody starts from."""
    other = file("other", "c" * 64)
    wish = (vnfc("0", "other"), vnfc("1"))
    _, both = with_images_of_both(wish, (OLD,), (other,), fresh=frozenset({VnfcId("0")}))
    assert set(both) == {OLD, other}
    _, one = with_images_of_both(
        (vnfc("0", "other"), vnfc("1", "other")), both, (other,), fresh=frozenset({VnfcId("1")})
    )
    assert one == (other,)


def test_batches_have_every_swap_once_and_in_order() -> None:
    """The last one may be smaller."""
    swaps = [Swap(old=VnfcId(str(number)), new=vnfc(str(number))) for number in range(5)]
    batches = batches_of(swaps, 2)
    assert [len(one) for one in batches] == [2, 2, 1]
    assert [swap for batch in batches for swap in batch] == swaps
