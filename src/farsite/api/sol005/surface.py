"""Which operations of ETSI's VNF package management interface are not served, and why.

What is served is what the router holds; a test compares the two with ETSI's OpenAPI files.
"""

from collections.abc import Mapping

API_VERSION = "1.3.0"
ROOT = "/vnfpkgm/v1"

_PACKAGE = "/vnf_packages/{vnfPkgId}"
_NOTIFICATIONS = (
    "Changes of packages are not sent to callbacks; read the package until its onboardingState is ONBOARDED."
)
_EXTERNAL = "Packages whose artefacts lie elsewhere are not taken; put the files into the archive."

NOT_SERVED: Mapping[tuple[str, str], str] = {
    ("GET", f"{_PACKAGE}/ext_artifacts_access"): _EXTERNAL,
    ("PUT", f"{_PACKAGE}/ext_artifacts_access"): _EXTERNAL,
    (
        "GET",
        f"{_PACKAGE}/manifest",
    ): "Not part of version 1; the manifest is in the archive (package_content).",
    (
        "GET",
        f"{_PACKAGE}/artifacts",
    ): "Not part of version 1; all files are in the archive (package_content).",
    ("GET", "/subscriptions"): _NOTIFICATIONS,
    ("POST", "/subscriptions"): _NOTIFICATIONS,
    ("GET", "/subscriptions/{subscriptionId}"): _NOTIFICATIONS,
    ("DELETE", "/subscriptions/{subscriptionId}"): _NOTIFICATIONS,
}
"""These answer 501."""
