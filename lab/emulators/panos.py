"""An emulated PAN-OS firewall with its XML API: candidate and running configuration, and commit jobs.

Source: the PAN-OS and Panorama API usage guide, 9.1 to 12.1 (docs.paloaltonetworks.com): structure of a
request, configuration actions, commit, asynchronous requests, error codes; examples in `examples/panos`.
Decided here without a document: the words of messages beyond the codes that the guide lists, that setting
what does not resolve is refused at once with code 12 and an incomplete rule at the commit, that a second
commit while one runs is code 13, and that a partial commit by administrator commits everything.
"""

import base64
import copy
import hashlib
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from lab.emulators import licences
from lab.emulators.misbehaviour import Fault
from lab.emulators.panos_tree import (
    VSYS,
    Element,
    Refusal,
    ensure,
    faults,
    incomplete,
    merge,
    parent_of,
    select,
    steps,
    users,
)
from lab.emulators.server import Answer, Emulator, Request

USER, DEFAULT_PASSWORD = "admin", "emulated-admin"
FACTORY = """<config version="11.1.0">
<mgt-config><users><entry name="admin"/></users></mgt-config><shared/>
<devices><entry name="localhost.localdomain">
<deviceconfig><system><hostname>PA-VM</hostname></system></deviceconfig>
<network><interface><ethernet/></interface><virtual-router><entry name="default"/></virtual-router></network>
<vsys><entry name="vsys1"><zone><entry name="trust"/><entry name="untrust"/></zone><address/><service/>
<rulebase><security><rules/></security><nat><rules/></nat></rulebase></entry></vsys>
</entry></devices></config>"""
MEDDLED = f"{VSYS}/address/entry[@name='meddled']/ip-netmask"
WORKS_S = 0.05


class PanOs(Emulator):
    """One firewall with one virtual system. What was committed outlives a restart, what was not does not."""

    vendor: ClassVar[str] = "Palo Alto Networks"
    product: ClassVar[str] = "panos"
    saves_by_itself: ClassVar[bool] = True

    def __init__(self, *, secret: str = DEFAULT_PASSWORD, minute_s: float = 60.0) -> None:
        super().__init__(minute_s=minute_s)
        self._password = secret
        self.running = _tidy(ElementTree.fromstring(FACTORY))
        self.candidate = copy.deepcopy(self.running)
        self.licences = licences.panos()
        self._kept: dict[str, Element] = {}
        self._jobs: dict[int, dict[str, str]] = {}
        self._details: dict[int, list[str]] = {}

    @property
    def key(self) -> str:
        """The API key of the administrator; a new password makes a new one."""
        text = f"{USER}:{self._password}".encode()
        return "LUFRPT1" + base64.b64encode(hashlib.sha256(text).digest()).decode()

    def is_change(self, request: Request) -> bool:
        return _asked(request).get("type") == "commit"

    def state(self) -> object:
        return ElementTree.tostring(self.running, encoding="unicode")

    def meddle(self) -> None:
        with self.lock:
            for root in (self.running, self.candidate):
                ensure(root, MEDDLED).text = "192.0.2.66"

    def lose_what_was_not_saved(self) -> None:
        with self.lock:
            self.candidate = copy.deepcopy(self.running)
            self._jobs.clear()

    # -- who asks, and what --------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        asked = _asked(request)
        if request.path.rstrip("/") != "/api":
            return Answer(status=404, content_type="text/html")
        if asked.get("type") == "keygen":
            if (asked.get("user"), asked.get("password")) != (USER, self._password):
                return _error(403, "Invalid Credential", status=403)
            return _xml(f"<result><key>{self.key}</key></result>")
        given = asked.get("key") or request.headers.get("x-pan-key", "")
        if given != self.key:
            return _error(403, "Invalid Credential", status=403)
        try:
            match asked.get("type"):
                case "config":
                    return self._config(asked)
                case "commit":
                    return self._commit(asked)
                case "op":
                    return self._op(asked)
                case None:
                    return _error(400, 'Missing value for parameter "type".', status=400)
                case other:
                    return _error(400, f'Illegal value "{other}" for parameter "type".', status=400)
        except Refusal as refusal:
            return _error(refusal.code, *refusal.lines)

    # -- configuration -------------------------------------------------------------------------------

    def _config(self, asked: Mapping[str, str]) -> Answer:
        action = asked.get("action")
        for needed in ("action", "xpath"):
            if needed not in asked:
                return _error(400, f'Missing value for parameter "{needed}".', status=400)
        xpath = asked["xpath"]
        with self.lock:
            match action:
                case "show" | "get":
                    return self._look(xpath, is_running=action == "show")
                case "set" | "edit" | "delete" | "rename" | "clone" | "move":
                    was = copy.deepcopy(self.candidate)
                    try:
                        said = self._changed(str(action), xpath, asked)
                        if action in ("set", "edit") and (wrong := faults(self.candidate)):
                            raise Refusal(12, *wrong)
                    except Refusal:
                        self.candidate = was
                        raise
                    return said
                case _:
                    return _error(400, f'Illegal value "{action}" for parameter "action".', status=400)

    def _look(self, xpath: str, *, is_running: bool) -> Answer:
        found = select(self.running if is_running else self.candidate, xpath)
        if not found:
            if is_running:
                return Answer(
                    body=b'<response status="error"><msg><line>No such node</line></msg></response>',
                    content_type="application/xml",
                )
            return _xml("<result/>", code=7)
        inner = "".join(ElementTree.tostring(one, encoding="unicode") for one in found)
        counts = "" if is_running else f' total-count="{len(found)}" count="{len(found)}"'
        return _xml(f"<result{counts}>{inner}</result>", code=None if is_running else 19)

    def _changed(self, action: str, xpath: str, asked: Mapping[str, str]) -> Answer:
        match action:
            case "set":
                merge(ensure(self.candidate, xpath), _element(f"<x>{asked.get('element', '')}</x>"))
            case "edit":
                self._edit(xpath, _element(asked.get("element", "")))
            case "delete":
                found = select(self.candidate, xpath)
                if not found:
                    return _xml("<msg>Object doesn't exist</msg>", code=7)
                for one in found:
                    self._free(xpath, one)
                    parent_of(self.candidate, one).remove(one)
            case "rename":
                self._named(xpath).set("name", asked.get("newname", ""))
            case "clone":
                source = next(iter(select(self.candidate, asked.get("from", ""))), None)
                if source is None:
                    raise Refusal(7, "Object not present")
                made = copy.deepcopy(source)
                made.set("name", asked.get("newname", ""))
                ensure(self.candidate, xpath).append(made)
            case _:
                self._move(self._named(xpath), asked)
        return _xml("<msg>command succeeded</msg>", code=20)

    def _edit(self, xpath: str, new: Element) -> None:
        name, asked, value = steps(xpath)[-1]
        if new.tag != name or (asked == "@name" and new.get("name") != value):
            raise Refusal(
                12, "edit failed, may need to override template object first", f"{new.tag} is not {name}"
            )
        held = ensure(self.candidate, xpath)
        place = parent_of(self.candidate, held)
        place[list(place).index(held)] = copy.deepcopy(new)

    def _named(self, xpath: str) -> Element:
        found = select(self.candidate, xpath)
        if not found:
            raise Refusal(7, "Object not present")
        if len(found) > 1:
            raise Refusal(8, "Object not unique")
        return found[0]

    def _free(self, xpath: str, entry: Element) -> None:
        path = steps(xpath)
        if len(path) < 2 or path[-1][0] != "entry":
            return
        kind, name = path[-2][0], str(entry.get("name"))
        if found := users(self.candidate, kind, name):
            raise Refusal(10, f" {kind} -> {name} cannot be deleted because of references from:", *found)

    def _move(self, entry: Element, asked: Mapping[str, str]) -> None:
        place = parent_of(self.candidate, entry)
        others = [one for one in place if one is not entry]
        where, dst = asked.get("where", ""), asked.get("dst", "")
        if where in ("before", "after"):
            at = next((number for number, one in enumerate(others) if one.get("name") == dst), None)
            if at is None:
                raise Refusal(7, "Object not present")
            others.insert(at + (where == "after"), entry)
        elif where in ("top", "bottom"):
            if list(place)[0 if where == "top" else -1] is entry:
                raise Refusal(14, f"Move {entry.get('name')} is not possible")
            others.insert(0 if where == "top" else len(others), entry)
        else:
            raise Refusal(17, f'Illegal value "{where}" for parameter "where".')
        place[:] = others

    # -- commits -------------------------------------------------------------------------------------

    def _commit(self, asked: Mapping[str, str]) -> Answer:
        if "cmd" not in asked:
            return _error(400, 'Missing value for parameter "cmd".', status=400)
        command = _element(asked["cmd"])
        if command.tag != "commit":
            raise Refusal(17, f" {command.tag} is unexpected")
        with self.lock:
            if any(one["status"] == "ACT" for one in self._jobs.values()):
                raise Refusal(13, "Another commit/validate is in progress. Please try again later")
            is_forced = command.find("force") is not None
            if not is_forced and _same(self.candidate, self.running):
                return _xml("<msg>There are no changes to commit.</msg>", code=19)
            job = len(self._jobs) + 1
            self._jobs[job] = {
                "tenq": datetime.now(UTC).strftime("%Y/%m/%d %H:%M:%S"),
                "id": str(job),
                "user": USER,
                "type": "Commit",
                "status": "ACT",
                "result": "PEND",
                "progress": "10",
                "description": (command.findtext("description") or ""),
            }
            wanted = copy.deepcopy(self.candidate)
        threading.Thread(target=self._work, args=(job, wanted), daemon=True).start()
        line = f"Commit job enqueued with jobid {job}"
        return _xml(f"<result><msg><line>{line}</line></msg><job>{job}</job></result>", code=19)

    def _work(self, job: int, wanted: Element) -> None:
        time.sleep(WORKS_S)
        self.take_time()
        with self.lock:
            if job not in self._jobs:
                return
            said = incomplete(wanted)
            if not said and self.orders.take(Fault.PARTIAL_FAILURE):
                said = ["Management server failed to send phase 1 to client device", "Commit failed"]
            if not said:
                self.running = wanted
            self._details[job] = said or ["Configuration committed successfully"]
            self._jobs[job] |= {"status": "FIN", "result": "FAIL" if said else "OK", "progress": "100"}

    def _job(self, number: int) -> str:
        one = self._jobs[number]
        lines = "".join(f"<line>{escape(line)}</line>" for line in self._details.get(number, []))
        inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in one.items())
        return f"<job>{inner}<details>{lines}</details><warnings/></job>"

    # -- operational commands ------------------------------------------------------------------------

    def _op(self, asked: Mapping[str, str]) -> Answer:
        if "cmd" not in asked:
            return _error(400, 'Missing value for parameter "cmd".', status=400)
        command = _element(asked["cmd"])
        words, value = _words(command)
        with self.lock:
            match words:
                case "show jobs id":
                    if not value.isdigit() or int(value) not in self._jobs:
                        raise Refusal(17, f"job {value} not found")
                    return _xml(f"<result>{self._job(int(value))}</result>")
                case "show jobs all":
                    return _xml(f"<result>{''.join(self._job(one) for one in reversed(self._jobs))}</result>")
                case "show system info":
                    host = self.running.findtext(".//deviceconfig/system/hostname") or "PA-VM"
                    system = f"<hostname>{escape(host)}</hostname><model>PA-VM (emulated)</model>"
                    system += "<sw-version>11.1.0</sw-version>"
                    return _xml(f"<result><system>{system}<serial>000000000000</serial></system></result>")
                case "request license info":
                    return _xml(licences.panos_xml(self.licences))
                case "show config running":
                    return _xml(f"<result>{ElementTree.tostring(self.running, encoding='unicode')}</result>")
                case "show config candidate":
                    return _xml(
                        f"<result>{ElementTree.tostring(self.candidate, encoding='unicode')}</result>"
                    )
                case "check pending-changes":
                    return _xml(f"<result>{'no' if _same(self.candidate, self.running) else 'yes'}</result>")
                case "revert config":
                    self.candidate = copy.deepcopy(self.running)
                    return _xml("<result>Config reverted</result>")
                case "save config to":
                    self._kept[value] = copy.deepcopy(self.candidate)
                    return _xml(f"<result>Config saved to {escape(value)}</result>")
                case "load config from":
                    if value not in self._kept and value != "running-config.xml":
                        raise Refusal(17, f"{value} does not exist")
                    self.candidate = copy.deepcopy(self._kept.get(value, self.running))
                    return _xml(
                        f"<result><msg><line>Config loaded from {escape(value)}</line></msg></result>"
                    )
                case "request restart system":
                    self.restart(down_s=self.minute_s / 60)
                    return _xml("<result>Command succeeded with no output</result>")
                case _:
                    raise Refusal(17, f"{command.tag} {words} is unexpected here")


def _asked(request: Request) -> dict[str, str]:
    form = request.form() if request.method == "POST" and request.body else {}
    return {**request.query, **form}


def _element(text: str) -> Element:
    try:
        return _tidy(ElementTree.fromstring(text))
    except ElementTree.ParseError as error:
        raise Refusal(18, f"Malformed Request: {error}") from error


def _tidy(element: Element) -> Element:
    for one in element.iter():
        one.tail = None
        if one.text is not None and not one.text.strip():
            one.text = None
    return element


def _same(one: Element, other: Element) -> bool:
    return ElementTree.tostring(one) == ElementTree.tostring(other)


def _words(command: Element) -> tuple[str, str]:
    """`<show><jobs><id>4</id></jobs></show>` as ("show jobs id", "4")."""
    words, place = [command.tag], command
    while len(place):
        place = place[0]
        words.append(place.tag)
    return " ".join(words), (place.text or "").strip()


def _xml(inner: str, *, code: int | None = None) -> Answer:
    number = f' code="{code}"' if code is not None else ""
    return Answer(
        body=f'<response status="success"{number}>{inner}</response>'.encode(), content_type="application/xml"
    )


def _error(code: int, *lines: str, status: int = 200) -> Answer:
    if code in (400, 403):
        inner = f"<result><msg>{escape(lines[0])}</msg></result>"
    else:
        inner = f"<msg>{''.join(f'<line>{escape(line)}</line>' for line in lines)}</msg>"
    body = f'<response status="error" code="{code}">{inner}</response>'
    return Answer(status=status, body=body.encode(), content_type="application/xml")
