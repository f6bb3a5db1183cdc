"""Archives that no honest author sends: each is refused with its reason, quickly, and nothing is unpacked."""

import hashlib
import io
import stat
import struct
import time
import tracemalloc
import zipfile

import pytest
from descriptor_samples import faults_of_package, package_files, read_package, zipped

from farsite.descriptors.archive import Archive, Limits, open_archive
from farsite.descriptors.faults import ArchiveRefused
from farsite.model.errors import Invalid
from farsite.model.package import Fault

MIB = 1024 * 1024


def refused(file: io.BytesIO, limits: Limits | None = None) -> tuple[Fault, ...]:
    with pytest.raises(ArchiveRefused) as error:
        open_archive(file, limits)
    assert isinstance(error.value, Invalid)
    return error.value.faults


def zip_of_entries(*entries: zipfile.ZipInfo | str, content: bytes = b"x") -> io.BytesIO:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for entry in entries:
            archive.writestr(entry, content)
    return written


def special(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16
    return entry


@pytest.mark.parametrize(
    "content", [b"", b"not a zip at all", b"PK\x03\x04 but nothing more", b"\x89PNG\r\n\x1a\n" + b"\0" * 100]
)
def test_what_is_no_zip_is_refused(content: bytes) -> None:
    """The commonest mistake: the wrong file."""
    assert "zip" in str(refused(io.BytesIO(content))[0])


def test_a_truncated_archive_is_refused() -> None:
    """An upload that broke off must not be onboarded in part."""
    whole = zipped(package_files()).getvalue()
    for length in (len(whole) - 1, len(whole) - 30, len(whole) // 2, 100):
        assert refused(io.BytesIO(whole[:length]))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil", '".."'),
        ("a/../../evil", '".."'),
        ("/etc/passwd", "absolute"),
        ("C:/windows", "absolute"),
        ("a\\..\\b", "backslash"),
        ("a//b", "empty part"),
        ("./a", "empty part"),
        ("line\nbreak", "control character"),
        ("x" * 600, "600 characters"),
        ("/".join("abcdefghijklmnopqrstuvwxyz"), "26 levels"),
    ],
)
def test_a_path_that_leaves_the_archive_or_is_not_plain_is_refused(name: str, said: str) -> None:
    """Someone may unpack the archive one day; its names must be harmless."""
    assert said in refused(zip_of_entries(name))[0].found


def test_a_nul_in_a_name_is_refused() -> None:
    """`zipfile` cuts names at NUL, so that `a\\0../x` would pass for `a`."""
    raw = zip_of_entries("abcdef").getvalue().replace(b"abcdef", b"abc\0ef")
    assert "control character" in refused(io.BytesIO(raw))[0].found


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        (stat.S_IFLNK | 0o777, "symbolic link"),
        (stat.S_IFCHR, "device"),
        (stat.S_IFIFO, "pipe"),
        (stat.S_IFSOCK, "socket"),
    ],
)
def test_links_and_devices_are_refused(mode: int, said: str) -> None:
    """A link out of the archive would let a package read the host."""
    assert said in refused(zip_of_entries(special("link", mode), content=b"/etc/shadow"))[0].found


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused() -> None:
    """What is checked and what is used could be different files; nor may they differ by case alone."""
    assert "same name" in refused(zip_of_entries("a", "a"))[0].found
    assert "same name" in refused(zip_of_entries("Vnfd.yaml", "vnfd.YAML"))[0].found
    assert "file and a directory" in refused(zip_of_entries("a", "a/b"))[0].found


def test_all_bad_names_are_told_at_once() -> None:
    """An author who must upload once per fault gives up."""
    faults = refused(zip_of_entries("../a", "/b", "good", special("c", stat.S_IFLNK)))
    assert [fault.file for fault in faults] == ["../a", "/b", "c"]


def test_encrypted_entries_are_refused() -> None:
    """We have no password, and would not ask for one."""
    raw = bytearray(zip_of_entries("secret").getvalue())
    at = raw.index(b"PK\x01\x02")
    raw[at + 8] |= 1
    assert refused(io.BytesIO(bytes(raw)))[0].found == "encrypted"


def many_entries(count: int, stated: int | None = None) -> io.BytesIO:
    """A zip of empty files whose directory may lie about their number; one local header serves them all."""
    local = struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 0, 0, 0, 0, 0, 0, 0, 5, 0) + b"00000"
    entries = b"".join(
        struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0)
        + b"%05d" % (number % 100_000)
        for number in range(count)
    )
    stated = count if stated is None else stated
    if stated < 0xFFFF:
        end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, stated, stated, len(entries), len(local), 0)
    else:
        record = struct.pack(
            "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, stated, stated, len(entries), len(local)
        )
        locator = struct.pack("<4sIQI", b"PK\x06\x07", 0, len(local) + len(entries), 1)
        end = record + locator
        end += struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return io.BytesIO(local + entries + end)


@pytest.mark.parametrize("stated", [100_000, 60_000, 3])
def test_a_hundred_thousand_entries_are_refused_before_they_are_read(stated: int) -> None:
    """Counting must cost neither time nor memory, and the archive's own count may lie."""
    file = many_entries(100_000, stated)
    tracemalloc.start()
    began = time.process_time()
    faults = refused(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "entries" in faults[0].found or "directory" in faults[0].found
    assert time.process_time() - began < 2
    assert peak < 20 * MIB


def test_as_many_entries_as_allowed_are_accepted() -> None:
    """The limit is a limit, not a guess."""
    limits = Limits(entries=3)
    assert len(open_archive(zip_of_entries("a", "b", "c"), limits).names) == 3
    assert refused(zip_of_entries("a", "b", "c", "d"), limits)


def bomb(size: int) -> Archive:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("bomb", bytes(size))
    return open_archive(written)


def test_a_zip_bomb_is_noticed_while_unpacking() -> None:
    """A thousandfold file stops after the first MiB, not at the end of memory."""
    archive = bomb(50 * MIB)
    tracemalloc.start()
    with pytest.raises(ArchiveRefused) as error:
        archive.digest("bomb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "zip bomb" in error.value.faults[0].found
    assert peak < 8 * MIB


def test_what_unpacks_to_too_much_in_all_is_refused_also_when_headers_lie() -> None:
    """Many harmless files can be a bomb together; the stated sizes are only the first check."""
    limits = Limits(total_size=2 * MIB)
    files: dict[str, bytes | str] = {f"Files/{n}": bytes(range(256)) * 4096 for n in range(3)}
    with pytest.raises(ArchiveRefused) as error:
        open_archive(zipped(files), limits)
    assert "bytes" in error.value.faults[0].found
    raw = bytearray(zipped(files).getvalue())
    at = -1
    while (at := raw.find(b"PK\x01\x02", at + 1)) >= 0:
        raw[at + 24 : at + 28] = struct.pack("<I", 10)
    archive = open_archive(io.BytesIO(bytes(raw)), limits)
    with pytest.raises(ArchiveRefused):
        [archive.digest(name) for name in archive.names]


def test_a_damaged_file_is_refused_with_its_name() -> None:
    """The archive's own checksum is checked for every file, declared hash or not."""
    raw = bytearray(zip_of_entries("Files/data", content=b"precious data").getvalue())
    raw[raw.index(b"precious")] ^= 1
    with pytest.raises(ArchiveRefused) as error:
        open_archive(io.BytesIO(bytes(raw))).read("Files/data")
    assert error.value.faults[0].file == "Files/data"


def test_an_archive_behind_other_data_is_refused() -> None:
    """A file that is two things at once is checked as one and used as the other."""
    raw = b"#!/bin/sh\n" + zipped(package_files()).getvalue()
    assert refused(io.BytesIO(raw))
    assert refused(io.BytesIO(b"PK\x03\x04" + raw))


def test_a_package_zipped_with_its_folder_says_so() -> None:
    """The commonest packaging mistake gets its own words."""
    files = {f"router/{name}": content for name, content in package_files().items()}
    (fault,) = faults_of_package(files)
    assert "below a directory" in fault.found


@pytest.mark.parametrize("algorithm", ["SHA-256", "sha512", "SHA-224", "SHA-384"])
def test_declared_hashes_are_checked(algorithm: str) -> None:
    """Integrity is SOL004's promise to the operator."""
    digest = hashlib.new(algorithm.lower().replace("-", ""), b"hello").hexdigest()
    manifest = (
        f"metadata:\n  vnf_product_name: Router\n\nSource: Files/a\nAlgorithm: {algorithm}\nHash: {digest}\n"
    )
    meta = package_files()["TOSCA-Metadata/TOSCA.meta"]
    assert isinstance(meta, str)
    files = package_files(router_mf=manifest, Files__a="hello")
    files["TOSCA-Metadata/TOSCA.meta"] = meta + "ETSI-Entry-Manifest: router_mf\n"
    assert read_package(files).artifacts[0].path == "Files/a"
    (wrong,) = faults_of_package(files | {"Files/a": "hellO"})
    assert (wrong.file, wrong.line) == ("router_mf", 6)
    assert 'wrong hash of "Files/a"' in wrong.found
    del files["Files/a"]
    (missing,) = faults_of_package(files)
    assert (missing.file, missing.line) == ("router_mf", 4)
    assert "not in the archive" in missing.found


def test_hashes_in_the_metadata_file_are_checked_too() -> None:
    """Tacker's packages declare them there."""
    block = "\nName: Files/a\nContent-Type: text/plain\nAlgorithm: SHA-256\nHash: " + "0" * 64 + "\n"
    files = package_files(Files__a="hello")
    files["TOSCA-Metadata/TOSCA.meta"] = str(files["TOSCA-Metadata/TOSCA.meta"]) + block
    (fault,) = faults_of_package(files)
    assert fault.file == "TOSCA-Metadata/TOSCA.meta"
    assert "wrong hash" in fault.found


def test_an_unknown_hash_algorithm_is_refused_and_a_signature_is_named_in_a_warning() -> None:
    """A hash that nobody can check protects nothing; a signature we do not verify must not look verified."""
    manifest = "Source: Files/a\nAlgorithm: MD5\nHash: 5d41402abc4b2a76b9719d911017c592\n"
    files = package_files(m_mf=manifest, Files__a="hello")
    files["TOSCA-Metadata/TOSCA.meta"] = (
        str(files["TOSCA-Metadata/TOSCA.meta"]) + "ETSI-Entry-Manifest: m_mf\n"
    )
    (fault,) = faults_of_package(files)
    assert "MD5" in fault.found
    files["m_mf"] = "metadata:\n\n-----BEGIN CMS-----\nMIIF:x\n-----END CMS-----\n"
    assert any("signature not verified" in warning for warning in read_package(files).warnings)


def test_an_archive_without_metadata_has_its_entry_at_the_root() -> None:
    """SOL004's other layout: one YAML file at the root, its manifest beside it."""
    files = package_files()
    flat: dict[str, bytes | str] = {
        "router.yaml": str(files["Definitions/vnfd.yaml"]).replace(
            "- types.yaml", "- Definitions/types.yaml"
        ),
        "Definitions/types.yaml": files["Definitions/types.yaml"],
        "router.mf": "Source: router.yaml\nAlgorithm: SHA-256\nHash: " + "f" * 64 + "\n",
    }
    assert "wrong hash" in faults_of_package(flat)[0].found
    del flat["router.mf"]
    assert read_package(flat).vnfd_files[0] == "router.yaml"
    assert "2 YAML files" in faults_of_package(flat | {"second.yaml": "a: 1"})[0].found
