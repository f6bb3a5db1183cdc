"""Whether one disaster may take two sites: by the risk groups they share, and by how near they are.

Different sites fail apart only as far as what befalls them is local. Two on the same river or the same power
line have different names and one fate; so have two in one valley. What the sites' operator has said of them
(`risk_groups`, `coordinates`) and how far apart is far enough (settings `placement_...`) decide it.
"""

from math import asin, cos, radians, sin, sqrt

from farsite.placement.problem import Candidate, GeoRedundancy

_EARTH_RADIUS_KM = 6371.0088
Position = tuple[float, float]
"""Degrees north and east."""


def distance_km(one: Position, other: Position) -> float:
    """Kilometres along the surface (haversine formula, on a sphere: right to half a percent)."""
    north, other_north = radians(one[0]), radians(other[0])
    half_up, half_along = (other_north - north) / 2, radians(other[1] - one[1]) / 2
    chord = sin(half_up) ** 2 + cos(north) * cos(other_north) * sin(half_along) ** 2
    # Rounding may lead a hair beyond the antipodes.
    return 2 * _EARTH_RADIUS_KM * asin(sqrt(min(chord, 1.0)))


def shared_fate(one: Candidate, other: Candidate, policy: GeoRedundancy) -> str:
    """Why two different sites may be lost together; empty when nothing known says so.

    A distance that must be kept and cannot be told is not kept.
    """
    if policy.is_by_risk_group and (shared := one.risk_groups & other.risk_groups):
        return f"site {one.site} shares risk group {', '.join(sorted(shared))} with site {other.site}"
    if policy.km <= 0:
        return ""
    unknown = sorted({each.site for each in (one, other) if each.position is None})
    if one.position is None or other.position is None:
        return f"nobody said where site {' and '.join(unknown)} is (coordinates)"
    km = distance_km(one.position, other.position)
    if km >= policy.km:
        return ""
    says = f' (policy "{policy.km_by}")' if policy.km_by else ""
    return f"site {one.site} is {km:.0f} km from site {other.site}, nearer than {policy.km:g} km{says}"
