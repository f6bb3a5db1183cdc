"""An emulated FortiGate with the REST API of FortiOS 7.

Source: the FortiOS REST API reference (6.0.4: methods, response codes, CMDB and monitor paths), answers that
FortiOS gave and their owners published (ansible/ansible#58914, fortinetdev/terraform-provider-fortios#193,
#210 and #244), and the API guide of hermanwjacobsen/hfortix-fortios (envelope, filters, batch transactions);
examples in `examples/fortios`. The vendor's own reference is not public in full, so less is certain here than
for the other products. Decided here without a document: the words of `cli_error` for a reference that does
not resolve (after #193), error -23 for an object in use, -3 for one that is not there, that a batch applies
all or nothing, that an API that is not answered by `confirm` within the time of `cfg-revert-timeout` reboots
to what was saved when `cfg-save` is `revert`.
"""

import copy
import hashlib
import json
import secrets
import threading
from collections.abc import Mapping
from typing import ClassVar

from lab.emulators import licences
from lab.emulators.fortios_tables import FACTORY, TABLES, Json, Refusal, Table, fault_of, used_by
from lab.emulators.misbehaviour import Fault
from lab.emulators.server import Answer, Emulator, Request, as_json

DEFAULT_TOKEN = "emulated-access-token"
CMDB, MONITOR = "/api/v2/cmdb/", "/api/v2/monitor/"
SERIAL, VERSION, BUILD = "FGVMEMULATED0001", "v7.4.4", 2662
STATUS = {-3: 404, -5: 500, -23: 500, -37: 500, -651: 500, -1: 500}


class FortiOs(Emulator):
    """One FortiGate with one VDOM. It writes changes to flash itself unless `cfg-save` says otherwise."""

    vendor: ClassVar[str] = "Fortinet"
    product: ClassVar[str] = "fortios"
    saves_by_itself: ClassVar[bool] = True

    def __init__(self, *, secret: str = DEFAULT_TOKEN, minute_s: float = 60.0) -> None:
        super().__init__(minute_s=minute_s)
        self._token = secret
        self.running: dict[str, object] = copy.deepcopy(FACTORY)
        """By `path/name`: a table by key, or one object."""
        self.licences: object = licences.fortios()
        self._saved = copy.deepcopy(self.running)
        self._batches: dict[str, list[Request]] = {}
        self._timer: threading.Timer | None = None
        self._revisions = 0

    def is_change(self, request: Request) -> bool:
        return request.method != "GET" and request.path.startswith(CMDB)

    def state(self) -> object:
        return self.running

    def meddle(self) -> None:
        with self.lock:
            table = self.running["firewall/address"]
            assert isinstance(table, dict)
            table["meddled"] = {"name": "meddled", "type": "ipmask", "subnet": "192.0.2.66 255.255.255.255"}
            self._revisions += 1
            self._keep()

    def lose_what_was_not_saved(self) -> None:
        with self.lock:
            self._disarm()
            self.running = copy.deepcopy(self._saved)
            self._batches.clear()

    # -- answers -------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        given = request.headers.get("authorization", "").removeprefix("Bearer ") or request.query.get(
            "access_token", ""
        )
        if not secrets.compare_digest(given, self._token):
            return self._bare(request, 401)
        if request.query.get("vdom", "root") not in ("root", "*"):
            return self._bare(request, 403)
        if request.path.startswith(MONITOR):
            return self._monitor(request)
        # Transactions are of the whole database, so their path ends there (FortiOS 7.4 New Features).
        path = f"{request.path}/" if request.path == CMDB.rstrip("/") else request.path
        if not path.startswith(CMDB):
            return self._bare(request, 404)
        words = path.removeprefix(CMDB).strip("/").split("/")
        name = "/".join(words[:2])
        if name == "system/config" or (name == "" and "action" in request.query):
            return self._transaction(request)
        if name not in TABLES:
            return self._bare(request, 404)
        batch = request.headers.get("x-transaction-id") or request.query.get("transaction-id", "")
        if batch and request.method != "GET":
            if batch not in self._batches:
                return self._told(request, name, 500, error=-37)
            self._batches[batch].append(request)
            return self._told(request, name, 200, mkey=_key_of(words, request, TABLES[name]))
        with self.lock:
            try:
                return self._cmdb(request, name, words[2:])
            except Refusal as refusal:
                return self._told(
                    request,
                    name,
                    STATUS.get(refusal.error, 500),
                    mkey=_key_of(words, request, TABLES[name]),
                    error=refusal.error,
                    cli_error=refusal.said,
                )
            except json.JSONDecodeError:
                return self._bare(request, 400)

    def _bare(self, request: Request, status: int) -> Answer:
        told: Json = {"http_method": request.method, "http_status": status, "status": "error", "vdom": "root"}
        told |= {"serial": SERIAL, "version": VERSION, "build": BUILD}
        return as_json(told, status=status)

    def _told(
        self,
        request: Request,
        name: str,
        status: int,
        *,
        results: object = None,
        mkey: str = "",
        error: int = 0,
        cli_error: str = "",
        changed_from: str | None = None,
    ) -> Answer:
        path, _, last = name.partition("/")
        told: Json = {"http_method": request.method, "revision": self._revision()}
        if changed_from is not None:
            told |= {"revision_changed": changed_from != self._revision(), "old_revision": changed_from}
        if results is not None:
            told["results"] = results
            if isinstance(results, list):
                told |= {"size": len(results), "matched_count": len(results)}
        if mkey:
            told["mkey"] = int(mkey) if mkey.isdigit() else mkey
        if error and status != 404:
            told["error"] = error
        if cli_error:
            told["cli_error"] = cli_error
        told |= {
            "vdom": "root",
            "path": path,
            "name": last,
            "status": "error" if error or status >= 400 else "success",
            "http_status": status,
            "serial": SERIAL,
            "version": VERSION,
            "build": BUILD,
        }
        return as_json(told, status=status)

    def _revision(self) -> str:
        return hashlib.md5(str(self._revisions).encode(), usedforsecurity=False).hexdigest()

    # -- the configuration database ------------------------------------------------------------------

    def _cmdb(self, request: Request, name: str, rest: list[str]) -> Answer:
        table = TABLES[name]
        if request.method == "GET":
            return self._get(request, name, table, rest)
        if request.method not in ("POST", "PUT", "DELETE"):
            return self._bare(request, 405)
        before, was = self._revision(), copy.deepcopy(self.running)
        try:
            mkey = self._changed(request, name, table, rest)
        except Refusal:
            self.running = was
            raise
        if self.running != was:
            self._revisions += 1
        self._keep()
        return self._told(request, name, 200, mkey=mkey, changed_from=before)

    def _changed(self, request: Request, name: str, table: Table, rest: list[str]) -> str:
        """Change an object; refused, it is left as it came out. Returns its key."""
        self.take_time()
        if self.orders.take(Fault.PARTIAL_FAILURE):
            raise Refusal(-651, "Command fail. Return code -651\n")
        mkey = self._change(request, name, table, rest)
        if said := fault_of(self.running, name, mkey):
            raise Refusal(-651, f"{said}\nCommand fail. Return code -651\n")
        return mkey

    def _get(self, request: Request, name: str, table: Table, rest: list[str]) -> Answer:
        held = self.running[name]
        assert isinstance(held, dict)
        match request.query.get("action"):
            case "schema":
                return self._told(
                    request,
                    name,
                    200,
                    results={"mkey": table.key, "children": {one: {} for one in table.fields}},
                )
            case "default":
                return self._told(request, name, 200, results=dict(table.defaults))
            case _:
                pass
        if table.key is None:
            return self._told(request, name, 200, results=_shown(held))
        if rest:
            if rest[0] not in held:
                return self._told(request, name, 404, mkey=rest[0])
            return self._told(request, name, 200, results=[_shown(held[rest[0]], table.key)])
        every = [_shown(one, table.key) for one in held.values()]
        matching = [one for one in every if _matches(one, request.query.get("filter", ""))]
        start = int(request.query.get("start", 0))
        count = int(request.query.get("count", len(matching)))
        fields = [one for one in request.query.get("format", "").split("|") if one]
        page = matching[start : start + count]
        if fields:
            page = [{key: one[key] for key in one if key in fields} for one in page]
        return self._told(request, name, 200, results=page)

    def _change(self, request: Request, name: str, table: Table, rest: list[str]) -> str:
        held = self.running[name]
        assert isinstance(held, dict)
        said: Json = json.loads(request.body) if request.body else {}
        if table.key is None:
            if request.method != "PUT":
                raise Refusal(-1, "8757: Unknown action 0\nCommand fail. Return code -1\n")
            held.update(table.checked(said))
            return ""
        if request.method == "POST" and not rest:
            if request.query.get("action") == "clone":
                source = request.query.get("nkey", "")
                said = (
                    {**held[source], table.key: said.get(table.key, f"{source}_copy")}
                    if source in held
                    else said
                )
            key = str(said.get(table.key) or "")
            if not key:
                if not table.numbers_itself:
                    raise Refusal(
                        -651,
                        "empty table name\nvalue parse error before ''\nCommand fail. Return code -651\n",
                    )
                key = str(max((int(one) for one in held), default=0) + 1)
            if key in held and key != "0":
                raise Refusal(-5)
            if key == "0":
                key = str(max((int(one) for one in held), default=0) + 1)
            held[key] = {
                **table.defaults,
                **table.checked(said),
                table.key: int(key) if key.isdigit() else key,
            }
            return key
        if not rest:
            raise Refusal(-1, "8757: Unknown action 0\nCommand fail. Return code -1\n")
        key = rest[0]
        if key not in held:
            raise Refusal(-3)
        if request.method == "DELETE":
            if users := used_by(self.running, name, key):
                raise Refusal(
                    -23, f"The entry is used by other {len(users)} entries\nCommand fail. Return code -23\n"
                )
            del held[key]
        elif request.query.get("action") == "move":
            self._move(held, key, request.query)
        else:
            held[key] = {**held[key], **table.checked(said)}
        return key

    @staticmethod
    def _move(held: Json, key: str, query: Mapping[str, str]) -> None:
        other = query.get("before") or query.get("after") or ""
        if other not in held:
            raise Refusal(-3)
        order = [one for one in held if one != key]
        order.insert(order.index(other) + ("after" in query), key)
        moved = {one: held[one] for one in order}
        held.clear()
        held.update(moved)

    def _transaction(self, request: Request) -> Answer:
        """Batches, by the actions of the API guide."""
        match request.query.get("action") or request.query.get("batch"):
            case "batch-start" | "transaction-start":
                batch = str(len(self._batches) + 1)
                self._batches[batch] = []
                return self._told(request, "system/config", 200, results={"transaction-id": batch})
            case "batch-commit" | "transaction-commit":
                steps = self._batches.pop(self._which(request), None)
                if steps is None:
                    return self._told(request, "system/config", 500, error=-37)
                return self._commit(request, steps)
            case "batch-abort" | "transaction-abort":
                if self._batches.pop(self._which(request), None) is None:
                    return self._told(request, "system/config", 500, error=-37)
                return self._told(request, "system/config", 200)
            case _:
                return self._bare(request, 404)

    def _which(self, request: Request) -> str:
        named = request.headers.get("x-transaction-id") or request.query.get("transaction-id", "")
        return named or next(reversed(self._batches), "")

    def _commit(self, request: Request, steps: list[Request]) -> Answer:
        with self.lock:
            # One copy for all of them: a batch of thousands would else copy the whole thousands of times.
            was = copy.deepcopy(self.running)
            try:
                for step in steps:
                    words = step.path.removeprefix(CMDB).strip("/").split("/")
                    name = "/".join(words[:2])
                    self._changed(step, name, TABLES[name], words[2:])
            except Refusal as refusal:
                self.running = was
                self._keep()
                return self._told(request, "system/config", 500, error=refusal.error, cli_error=refusal.said)
            if self.running != was:
                self._revisions += 1
            self._keep()
            return self._told(request, "system/config", 200)

    # -- saving and confirming -----------------------------------------------------------------------

    def _global(self, key: str, otherwise: str) -> str:
        held = self.running["system/global"]
        assert isinstance(held, dict)
        return str(held.get(key, otherwise))

    def _keep(self) -> None:
        """After a change: written to flash, or left for the timer, as `cfg-save` says."""
        match self._global("cfg-save", "automatic"):
            case "automatic":
                self._saved = copy.deepcopy(self.running)
            case "revert":
                self._disarm()
                waits_s = float(self._global("cfg-revert-timeout", "600")) * self.minute_s / 60
                self._timer = threading.Timer(waits_s, self.restart, kwargs={"down_s": self.minute_s / 60})
                self._timer.daemon = True
                self._timer.start()
            case _:
                pass

    def _disarm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _monitor(self, request: Request) -> Answer:
        words = request.path.removeprefix(MONITOR).strip("/")
        with self.lock:
            match (request.method, words):
                case ("GET", "system/status"):
                    results: object = {
                        "hostname": self._global("hostname", "FGT"),
                        "model_name": "FortiGate (emulated)",
                    }
                case ("POST", "system/config/save"):
                    self._disarm()
                    self._saved = copy.deepcopy(self.running)
                    results = {}
                case ("GET" | "POST", "system/config/backup"):
                    return Answer(body=json.dumps(self.running).encode(), content_type="text/plain")
                case ("POST", "system/config/restore"):
                    self.running = {
                        **copy.deepcopy(FACTORY),
                        **json.loads(json.loads(request.body)["file_content"]),
                    }
                    self._saved = copy.deepcopy(self.running)
                    results = {"config_restored": True}
                case ("POST", "system/os/reboot"):
                    self.restart(down_s=self.minute_s / 60)
                    results = {}
                case ("GET", "license/status"):
                    results = self.licences
                case ("GET", "router/ipv4"):
                    results = self._routes()
                case ("GET", "system/interface"):
                    held = self.running["system/interface"]
                    assert isinstance(held, dict)
                    results = {
                        name: {
                            "id": name,
                            "name": name,
                            "link": True,
                            "ip": str(one.get("ip", "")).split(" ")[0],
                        }
                        for name, one in held.items()
                    }
                case _:
                    return self._bare(request, 404)
        path, _, last = words.partition("/")
        told: Json = {
            "http_method": request.method,
            "results": results,
            "vdom": "root",
            "path": path,
            "name": last,
        }
        told |= {"action": "", "status": "success", "serial": SERIAL, "version": VERSION, "build": BUILD}
        return as_json(told)

    def _routes(self) -> list[Json]:
        held = self.running["router/static"]
        assert isinstance(held, dict)
        return [
            {
                "ip_version": 4,
                "type": "static",
                "ip_mask": one.get("dst"),
                "gateway": one.get("gateway"),
                "interface": one.get("device"),
            }
            for one in held.values()
        ]


def _key_of(words: list[str], request: Request, table: Table) -> str:
    if len(words) > 2:
        return words[2]
    try:
        said = json.loads(request.body or b"{}")
    except ValueError:
        return ""
    return str(said.get(table.key, "")) if isinstance(said, dict) and table.key else ""


def _shown(one: object, key: str | None = None) -> Json:
    assert isinstance(one, dict)
    return {**one, "q_origin_key": one[key]} if key else dict(one)


def _matches(one: Json, text: str) -> bool:
    """`key==value`, and `!=`, `=@` (contains); a comma is or, `&` is and."""
    for every in text.split("&"):
        if every and not any(_holds(one, single) for single in every.split(",")):
            return False
    return True


def _holds(one: Json, single: str) -> bool:
    for operator in ("==", "!=", "=@", "!@"):
        key, found, value = single.partition(operator)
        if found:
            held = str(one.get(key, ""))
            is_so = value in held if "@" in operator else held == value
            return is_so != operator.startswith("!")
    return True
