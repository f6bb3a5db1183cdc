"""The VNF that provides a network, through Farsite's API: found by its name, made, changed, taken down.

Repeating anything is quiet: CloudStack repeats what it did not hear an answer to.
"""

import copy
import fcntl
import json
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pydantic import TypeAdapter, ValidationError

from farsite.client import Client, Operation, Problem
from farsite.cloudstack.asked import Asked, WrongUsage
from farsite.cloudstack.document import Document
from farsite.model.configuration import Configuration

MARGIN_S = 5.0
"""How long before CloudStack's own limit we stop waiting, so that it hears why."""
_AGAIN_S = 0.5


class NotDone(Exception):  # exit code 3: Farsite refused or failed, in its own words
    """What was asked is not done; says what stands and what to do."""


class Device:
    """The VNF of one network or VPC."""

    def __init__(self, client: Client, asked: Asked) -> None:
        self.client = client
        self.asked = asked
        self._give_up_at = time.monotonic() + max(1.0, asked.timeout_s - MARGIN_S)
        vpc = asked.text("vpc_id")
        # All tiers of a VPC are on one device.
        self.name = f"cloudstack-vpc-{vpc}" if vpc else f"cloudstack-network-{asked.needed('network_id')}"

    def find(self) -> Mapping[str, object] | None:
        """The VNF, if it was made."""
        try:
            return cast("Mapping[str, object]", self.client.vnf(self.name))
        except Problem as problem:
            if problem.status != 404:
                raise
            return None

    def ensure(self) -> Mapping[str, object]:
        """The VNF, made where it is missing; not yet instantiated.

        Raises:
            WrongUsage: no package is registered.
        """
        found = self.find()
        if found is not None:
            return found
        package = self.asked.detail("package")
        if not package:
            raise WrongUsage(
                'Register the detail "package" with the physical network: which VNF provides networks.'
            )
        with self._alone():
            return self.find() or cast(
                "Mapping[str, object]",
                self.client.create_vnf(
                    package,
                    name=self.name,
                    description="Provides a CloudStack network",
                    vim=self.asked.detail("vim"),
                ),
            )

    def stand(self) -> None:
        """Instantiate the VNF and say how it is managed; quiet where that is so."""
        found = self.ensure()
        key = str(found["id"])
        if found["state"] != "INSTANTIATED":
            self._run(lambda: self.client.start("vnfs", key, "instantiate"))
        for name, value in self._object("secrets").items():
            self.client.set_secret(key, name, str(value))
        management = json.loads(json.dumps(self._object("management")).replace("{device}", self.name))
        if management:
            self.client.manage(key, cast("Mapping[str, object]", management))

    def remove(self) -> None:
        """Terminate and delete the VNF; quiet where there is none."""
        found = self.find()
        if found is None:
            return
        if found["state"] == "INSTANTIATED":
            self._run(lambda: self.client.start("vnfs", str(found["id"]), "terminate", {"type": "FORCEFUL"}))
        self.client.delete_vnf(str(found["id"]))

    def document(self) -> Document:
        """The configuration that shall run; empty where there was none yet."""
        try:
            held = self.client.configuration(self.name)["document"]
        except Problem as problem:
            if problem.status != 404:
                raise
            return {}
        return {name: copy.deepcopy(value) for name, value in held.items() if value not in (None, {})}

    def change(self, how: Callable[[Document], None]) -> None:
        """Change the configuration, whole or not at all.

        Raises:
            NotDone: it was refused or taken back, or has not ended in time.
        """
        if self.find() is None:
            raise NotDone(f"There is no VNF {self.name}: implement-network or implement-vpc makes it.")
        with self._alone():
            before = self.document()
            wanted = copy.deepcopy(before)
            how(wanted)
            if _says_the_same(wanted, before):
                return
            body = {"document": wanted, "cause": f"CloudStack: {self.asked.command}"}
            self._run(lambda: self.client.configure(self.name, body))

    def _run(self, start: Callable[[], Operation]) -> None:
        """Start an operation, when no other works on the VNF, and wait for its end."""
        while True:
            try:
                started = start()
                break
            except Problem as problem:
                if problem.status != 409 or time.monotonic() > self._give_up_at:
                    raise
                time.sleep(_AGAIN_S)
        left_s = max(0.1, self._give_up_at - time.monotonic())
        try:
            for _ in self.client.follow(started["id"], within_s=left_s):
                pass
        except TimeoutError as error:
            raise NotDone(
                f"Operation {started['id']} on {self.name} goes on after the time that CloudStack gives. "
                f"Repeat the request when it has ended (farsite op why {started['id']})."
            ) from error
        ended = self.client.operation(started["id"])
        if ended["state"] != "COMPLETED":
            fault = ended["error"]
            said = fault["detail"] if fault else f"farsite op why {ended['id']}"
            raise NotDone(f"Operation {ended['id']} on {self.name} ended {ended['state']}: {said}")

    def _object(self, name: str) -> dict[str, object]:
        """A detail that is a JSON object, as such or as text."""
        value: object = self.asked.physical.get(name) or {}
        try:
            found = cast("object", json.loads(value)) if isinstance(value, str) else value
        except ValueError as error:
            raise WrongUsage(f'The detail "{name}" is no JSON: {error}.') from error
        if not isinstance(found, dict):
            raise WrongUsage(f'The detail "{name}" is no JSON object.')
        return cast("dict[str, object]", found)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Keep other commands of this management server from reading what we are about to write."""
        path = Path(tempfile.gettempdir()) / f"farsite-{self.name}.lock"
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _says_the_same(one: Document, other: Document) -> bool:
    """Whether two documents mean the same; what is left out of one means its default."""
    reader = TypeAdapter(Configuration)
    try:
        return reader.validate_python(one) == reader.validate_python(other)
    except ValidationError:
        # The API says better what is wrong with it.
        return False
