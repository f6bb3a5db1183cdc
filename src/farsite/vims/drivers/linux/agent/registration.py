"""What the registration of a site says of it, as it is now."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

_DEFAULT_CAPACITY = {"vcpus": 64, "memory_mib": 65_536, "disk_gib": 1_000, "hosts": 1}


class Registration:
    """Capacity, zones and where profiles lie."""

    def __init__(self, run_dir: Path, settings: Mapping[str, object]) -> None:
        self._run_dir = run_dir
        self._settings = dict(settings)

    def change(self, settings: Mapping[str, object]) -> None:
        """Take the settings of the registration as they are now."""
        self._settings = dict(settings)

    def capacity(self) -> dict[str, int]:
        return {
            name: int(float(str(self._settings.get(name, default))))
            for name, default in _DEFAULT_CAPACITY.items()
        }

    def zone_names(self) -> list[str]:
        zones = self._settings.get("zones")
        return (
            [str(each) for each in cast(list[object], zones)]
            if isinstance(zones, list) and zones
            else ["local"]
        )

    def profile_directories(self) -> Sequence[Path]:
        named = self._settings.get("profiles_dir")
        return [Path(str(named))] if named else [self._run_dir / "profiles"]
