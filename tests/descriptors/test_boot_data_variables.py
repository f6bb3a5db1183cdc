"""Variable parts of boot data are seen at onboarding, where their author still is."""

import pytest
from descriptor_samples import VNFD, changed, faults_of_package, package_files, read_package


def with_boot_data(content: str, *, data: str = "{}") -> str:
    boot = (
        "        description: forwards\n        boot_data:\n          content_or_file_data:\n"
        f"            data: {data}\n            content: |\n"
    )
    lines = "".join(f"              {line}\n" for line in content.splitlines())
    return changed(VNFD, "        description: forwards\n", boot + lines)


def test_values_of_the_descriptor_are_defaults_of_its_variables() -> None:
    """`data` of SOL001's ContentOrFileData."""
    text = with_boot_data("#!/bin/sh\necho ${{ data.mode }} ${{ port.cp_in.address }}", data="{mode: fast}")
    content = read_package(package_files(text))
    vdu = content.vnfd.flavour().vdus["vdu"]
    assert vdu.boot_values == {"mode": "fast"}
    assert "${{ data.mode }}" in vdu.boot_data
    assert content.warnings == ()


def test_a_variable_that_only_the_request_can_give_is_a_warning() -> None:
    """It may be meant."""
    content = read_package(package_files(with_boot_data("#!/bin/sh\necho ${{ data.mode }}")))
    assert any('"data.mode" without a default' in warning for warning in content.warnings)


def test_a_secret_in_key_value_pairs_is_a_fault() -> None:
    """A VIM shows them to whoever may see the server."""
    pairs = "{data: {key: '${{ secret.admin }}'}}"
    boot = f"        description: forwards\n        boot_data:\n          kvp_data: {pairs}\n"
    (fault,) = faults_of_package(package_files(changed(VNFD, "        description: forwards\n", boot)))
    assert 'names "secret.admin"' in fault.found


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("${{ vnf.nmae }}", 'variable "vnf.nmae" is unknown'),
        ("${{ port.cp_on.mac }}", 'boot data wants the address of "cp_on"'),
        ("${{ vnf.name | loud }}", 'filter "loud" of vnf.name is unknown'),
    ],
)
def test_what_nothing_will_ever_fill_in_is_a_fault(part: str, said: str) -> None:
    """With the place in the descriptor."""
    (fault,) = faults_of_package(package_files(with_boot_data(f"#!/bin/sh\necho {part}")))
    assert said in fault.found
    assert fault.line
