"""A bundle is taken as its signer made it, byte for byte, or not at all."""

import io
import json
import stat
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farsite.catalogue import bundle
from farsite.catalogue.bundle import BundleEntry, BundleEvidence, BundleFile, BundleRefused, Manifest
from farsite.catalogue.signing import SigningKeys
from farsite.model.catalogue import Certification, EntryKind, Evidence, SuiteResult
from farsite.model.errors import Conflict, Invalid, NotFound

FILES = {
    "adapters/example/adapter.yaml": b"name: example\n" * 20,
    "adapters/example/dns.conf.j2": b"# by Farsite\n",
    "adapters/example/empty.j2": b"",
}


def manifest_of(files: dict[str, bytes], **changes: Any) -> Manifest:
    listed = [
        BundleFile(path=path, size=len(content), sha256=bundle.sha256(content))
        for path, content in sorted(files.items())
    ]
    digest = bundle.folder_digest({one.path.rpartition("/")[2]: one.sha256 for one in listed})
    about = {
        "kind": EntryKind.ADAPTER, "vendor": "Example", "name": "example", "version": "1.0", "digest": digest
    }  # fmt: skip
    told = Evidence(
        **about, suite="kit", level=Certification.PROVED, result=SuiteResult.PASSED,
        at=datetime(2026, 1, 31, tzinfo=UTC), stated_by="Example",
    )  # fmt: skip
    entry = BundleEntry(**{**about, "files": listed, **changes})
    return Manifest(entries=[entry], evidence=[BundleEvidence.of(told)] if not changes else [])


def written(keys: SigningKeys, manifest: Manifest, files: dict[str, bytes]) -> bytes:
    return b"".join(bundle.write(manifest, keys.sign, lambda file: iter([files[file.path]])))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> SigningKeys:
    made = SigningKeys(tmp_path_factory.mktemp("keys") / "catalogue")
    made.create("vendor")
    return made


@pytest.fixture(scope="module")
def whole(keys: SigningKeys) -> bytes:
    return written(keys, manifest_of(FILES), FILES)


def refused(content: bytes, keys: SigningKeys) -> str:
    with pytest.raises(Invalid) as found:
        bundle.verify(io.BytesIO(content), keys)
    return found.value.detail


def test_a_bundle_is_a_plain_archive_that_is_read_back_as_it_was_written(
    keys: SigningKeys, whole: bytes
) -> None:
    """Anybody can look into it with tar, and two exports are compared with cmp."""
    verified = bundle.verify(io.BytesIO(whole), keys)
    assert verified.signer.name == "vendor"
    assert {one.path: b"".join(verified.content(one)) for one in verified.manifest.files} == FILES
    assert written(keys, manifest_of(FILES), FILES) == whole
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert archive.getnames() == ["manifest.json", "manifest.sig", *sorted(FILES)]
        manifest = archive.extractfile("manifest.json")
        assert manifest is not None
        assert json.load(manifest)["entries"][0]["name"] == "example"


def test_no_bit_of_a_bundle_can_change_unseen(keys: SigningKeys, whole: bytes) -> None:
    """In the manifest, the signature, a content, a header, the padding or the end: a bit of every byte."""
    taken: list[int] = []
    # Of the nothing that fills headers and blocks up, every eleventh byte.
    for at in (at for at in range(len(whole)) if whole[at] or at % 11 == 0):
        changed = bytearray(whole)
        changed[at] ^= 1 << (at % 8)
        try:
            bundle.verify(io.BytesIO(bytes(changed)), keys)
        except Invalid:
            continue
        taken.append(at)
    assert taken == []


@settings(max_examples=150)
@given(st.data())
def test_a_bundle_that_was_cut_added_to_or_put_together_otherwise_is_refused(
    keys: SigningKeys, whole: bytes, data: st.DataObject
) -> None:
    """Whatever is done to it on the way, by chance or on purpose."""
    at = data.draw(st.integers(0, len(whole) - 1))
    more = data.draw(st.binary(min_size=1, max_size=1500))
    length = data.draw(st.integers(1, len(whole)))
    to = data.draw(st.integers(0, len(whole)))
    for changed in (
        whole[:at],
        whole + more,
        more + whole,
        whole[:at] + more + whole[at:],
        whole[:at] + whole[at + length :],
        whole[:to] + whole[at : at + length] + whole[to:],
    ):
        if changed != whole:
            assert refused(changed, keys)


def blocks(content: bytes) -> Iterator[tuple[int, tarfile.TarInfo]]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            yield member.offset, member


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE])
def test_a_member_that_is_made_a_link_or_renamed_is_refused(
    keys: SigningKeys, whole: bytes, kind: bytes
) -> None:
    """With a checksum that fits: what a header says is compared, not believed."""
    for offset, member in blocks(whole):
        for change in (
            {"type": kind, "linkname": "/etc/passwd"},
            {"name": f"{member.name}2"},
            {"mode": 0o755},
        ):
            info = tarfile.TarInfo(member.name)
            info.size, info.mode = member.size, 0o644
            assert whole[offset : offset + 512] == info.tobuf(tarfile.USTAR_FORMAT)
            for name, value in change.items():
                setattr(info, name, value)
            changed = whole[:offset] + info.tobuf(tarfile.USTAR_FORMAT) + whole[offset + 512 :]
            assert "refused" in refused(changed, keys)


@pytest.mark.parametrize(
    "path",
    ["../adapter.yaml", "/etc/x.j2", "adapters/example/../x.j2", "adapters/other/x.j2",
     "adapters/example/x.py", "adapters/example/deep/x.j2", "adapters/example/.x.j2", "manifest.json"],
)  # fmt: skip
def test_not_even_a_trusted_signer_can_name_a_file_outside_its_place(keys: SigningKeys, path: str) -> None:
    """A key may be stolen; which files an entry has follows from its kind."""
    files = {"adapters/example/adapter.yaml": b"x", path: b"print('never run')"}
    assert path in refused(written(keys, manifest_of(files, version="1.0"), files), keys)


def test_an_entry_is_what_its_digest_says(keys: SigningKeys) -> None:
    """Evidence is of a digest, so a bundle must not state another."""
    wrong = manifest_of(FILES, digest="0" * 64)
    assert "digest of adapter example" in refused(written(keys, wrong, FILES), keys)
    package = manifest_of({"packages/x.zip": b"x"}, kind=EntryKind.VNF)
    assert "other files than its archive" in refused(written(keys, package, {"packages/x.zip": b"x"}), keys)
    stale = manifest_of(FILES)
    told = stale.evidence[0].model_copy(update={"digest": "0" * 64})
    lying = Manifest(entries=stale.entries, evidence=[told])
    assert "of a digest that is not in it" in refused(written(keys, lying, FILES), keys)


def test_a_bundle_is_bounded_before_anything_of_it_is_kept(keys: SigningKeys) -> None:
    """By what its manifest states: the size of that itself, of files, entries and their number."""
    info = tarfile.TarInfo("manifest.json")
    info.size, info.mode = bundle.MANIFEST_BYTES_MAX + 1, 0o644
    assert "no bundle" in refused(info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096), keys)
    many = {f"adapters/example/a{number}.j2": b"" for number in range(201)}
    text = json.loads(manifest_of(FILES).text())
    text["entries"][0]["files"] = [{"path": path, "size": 0, "sha256": bundle.sha256(b"")} for path in many]
    content = json.dumps(text, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    header = tarfile.TarInfo("manifest.json")
    header.size, header.mode = len(content), 0o644
    signed = keys.sign(b"farsite catalogue bundle, manifest:\n" + content)
    signature = tarfile.TarInfo("manifest.sig")
    signature.size, signature.mode = len(signed), 0o644
    made = header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    made += signature.tobuf(tarfile.USTAR_FORMAT) + signed + bytes(-len(signed) % 512)
    assert "entries.0.files" in refused(made, keys)


def test_an_unknown_signer_is_named_with_what_to_do(tmp_path: Path, whole: bytes, keys: SigningKeys) -> None:
    """The fingerprint is compared by another way than the bundle came."""
    ours = SigningKeys(tmp_path / "catalogue")
    (theirs,) = keys.trusted()
    said = refused(whole, ours)
    assert theirs.fingerprint in said
    assert f"farsite catalogue key trust NAME {theirs.public_key}" in said
    ours.trust("vendor", theirs.public_key)
    assert bundle.verify(io.BytesIO(whole), ours).signer.name == "vendor"
    ours.forget("vendor")
    assert theirs.fingerprint in refused(whole, ours)


def test_keys_are_for_the_services_user_alone_and_one_name_is_one_key(tmp_path: Path) -> None:
    """Who can read the key can make bundles in our name."""
    ours = SigningKeys(tmp_path / "keys" / "catalogue")
    with pytest.raises(Conflict, match="farsite catalogue key create"):
        ours.sign(b"")
    own = ours.create("us")
    assert own.is_own
    with pytest.raises(Conflict, match="signing key already"):
        ours.create("us-again")
    with pytest.raises(Conflict, match="another key"):
        ours.trust("us", "ed25519:" + "A" * 43 + "=")
    with pytest.raises(Conflict, match="our own"):
        ours.forget("us")
    with pytest.raises(NotFound, match="There are: us"):
        ours.forget("them")
    with pytest.raises(Invalid, match="no public key"):
        ours.trust("them", "ssh-ed25519 AAAA")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert stat.S_IMODE((tmp_path / "keys" / "catalogue").stat().st_mode) == 0o700


def test_a_file_that_changes_while_it_is_exported_makes_no_bundle(keys: SigningKeys) -> None:
    """The receiver would refuse it, and nobody would know why."""
    with pytest.raises(BundleRefused, match="changed while"):
        b"".join(bundle.write(manifest_of(FILES), keys.sign, lambda file: iter([b"other"])))
