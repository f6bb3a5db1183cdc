"""Identifiers: one type per noun, so that a VIM id cannot be handed over as a VNF id."""

import os
import time
import uuid
from typing import NewType

SiteId = NewType("SiteId", str)
VimId = NewType("VimId", str)
VnfPackageId = NewType("VnfPackageId", str)
VnfdId = NewType("VnfdId", str)
NsdInfoId = NewType("NsdInfoId", str)
NsdId = NewType("NsdId", str)
VnfInstanceId = NewType("VnfInstanceId", str)
VnfcId = NewType("VnfcId", str)
NsInstanceId = NewType("NsInstanceId", str)
OperationId = NewType("OperationId", str)
AlarmId = NewType("AlarmId", str)
EventId = NewType("EventId", str)
SubscriptionId = NewType("SubscriptionId", str)
ProjectId = NewType("ProjectId", str)

DEFAULT_PROJECT = ProjectId("default")

_NAMESPACE = uuid.UUID("5b1d2f6e-6b5a-4c3e-9a54-0f6a1f0e7d11")


def new_id() -> str:
    """A fresh random id (UUID 4, as SOL013 clause 4.2 wants identifiers)."""
    return str(uuid.uuid4())


def id_in_time() -> str:
    """A fresh id that begins with the time (UUID 7), for rows that are made by the thousand.

    Random ids each fall on another page of every index that holds them; these lie side by side, so a batch of
    rows writes a page or two where it wrote hundreds. The last 74 bits are random.

    Source: RFC 9562 clause 5.7.
    """
    mixed = os.urandom(10).hex()
    at = f"{time.time_ns() // 1_000_000:012x}"
    variant = "89ab"[int(mixed[3], 16) & 3]
    return f"{at[:8]}-{at[8:]}-7{mixed[:3]}-{variant}{mixed[4:7]}-{mixed[7:19]}"


def derived_id(*parts: str) -> str:
    """The same id for the same parts, always: what makes a repeated step find its first effect."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(parts)))
