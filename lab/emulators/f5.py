"""An emulated BIG-IP with Application Services 3 and the beginning of Declarative Onboarding.

Source: docs/openapi.yaml (3.56.0), docs/refguide/as3-api.rst and docs/userguide/authentication.rst of
F5Networks/f5-appsvcs-extension; docs/http-methods.rst and src/schema/latest/openapi.yaml of
F5Networks/f5-declarative-onboarding; the DevCentral article on token management; examples in `examples/f5`.
Decided here without a document: the words for a wrong password and for a missing header, the answer to the
deletion of a tenant that is not there ("no change"), that of a wrong optimisticLockKey, and that several
tenants with different ends are answered with 207.
"""

import base64
import copy
import hashlib
import json
import secrets
import threading
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import ClassVar

from lab.emulators import licences
from lab.emulators.f5_documents import (
    ONBOARDING,
    TOKENS,
    USER,
    listening,
    of_class,
    onboarding_task,
    patched,
    problem,
    token_described,
)
from lab.emulators.f5_schema import OF_APPLICATION, OF_TENANT, RESERVED, Json, errors, objects, tenants
from lab.emulators.misbehaviour import Fault
from lab.emulators.server import Answer, Emulator, Request, as_json

DEFAULT_PASSWORD = "emulated-admin"
DECLARE, TASK = "/mgmt/shared/appsvcs/declare", "/mgmt/shared/appsvcs/task"
LOGIN = "/mgmt/shared/authn/login"
TOKEN_S, LONGEST_TOKEN_S = 1200, 36000
SWAP_AFTER_S = 45.0
HISTORY, TASKS = 16, 25
INVALID = "declaration is invalid"


class F5(Emulator):
    """One BIG-IP; what AS3 deploys is saved unless the declaration says `persist: false`."""

    vendor: ClassVar[str] = "F5"
    product: ClassVar[str] = "f5"
    saves_by_itself: ClassVar[bool] = True

    def __init__(self, *, secret: str = DEFAULT_PASSWORD, minute_s: float = 60.0) -> None:
        super().__init__(minute_s=minute_s)
        self._password = secret
        self._tokens: dict[str, float] = {}
        self.declared: Json = {}
        """Tenant by name, as declared."""
        self.licence = licences.f5()
        """Its facts; empty: it has none."""
        self._id = ""
        self._saved: Json = {}
        self._history: list[Json] = []
        self._tasks: dict[str, Json] = {}
        self._locks: dict[str, str] = {}
        self._busy = threading.Lock()
        self._device: Json = {}
        self._device_tasks: dict[str, Json] = {}

    def is_change(self, request: Request) -> bool:
        return request.method != "GET" and request.path.startswith((DECLARE, ONBOARDING))

    def state(self) -> object:
        return [self.declared, self._device]

    def meddle(self) -> None:
        with self.lock:
            pool: Json = {
                "class": "Pool",
                "members": [{"servicePort": 80, "serverAddresses": ["192.0.2.66"]}],
            }
            name = next(iter(self.declared), "Meddled")
            tenant = self.declared.setdefault(name, {"class": "Tenant"})
            assert isinstance(tenant, dict)
            tenant["meddled"] = {"class": "Application", "pool": pool}

    def lose_what_was_not_saved(self) -> None:
        with self.lock:
            self.declared = copy.deepcopy(self._saved)
            self._tokens.clear()

    # -- who asks ------------------------------------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        if request.path == LOGIN and request.method == "POST":
            return self._login(request)
        if refusal := self._refused(request):
            return refusal
        try:
            body: object = json.loads(request.body) if request.body else None
        except ValueError as error:
            return problem(400, f"{error}")
        if request.path.startswith(f"{TOKENS}/"):
            return self._token(request, body)
        if request.path == "/mgmt/shared/appsvcs/info":
            return as_json(
                {"version": "3.56.0", "release": "10", "schemaCurrent": "3.56.0", "schemaMinimum": "3.0.0"}
            )
        if request.path == "/mgmt/tm/sys/license" and request.method == "GET":
            return as_json(licences.f5_json(self.licence))
        if request.path == "/mgmt/shared/appsvcs/settings":
            return as_json({"burstHandlingEnabled": False})
        if request.path.startswith(DECLARE):
            return self._declare(request, body)
        if request.path == TASK or request.path.startswith(f"{TASK}/"):
            return self._look(request.path.removeprefix(TASK).strip("/"))
        if request.path.startswith(ONBOARDING):
            return self._onboarding(request, body)
        # docs/userguide/troubleshooting.rst quotes this answer.
        return as_json(
            {
                "code": 404,
                "message": "Public URI path not registered. Please see /var/log/restjavad.0.log and "
                "/var/log/restnoded/restnoded.log for details.",
            },
            status=404,
        )

    def _refused(self, request: Request) -> Answer | None:
        if token := request.headers.get("x-f5-auth-token"):
            if self._tokens.get(token, 0.0) > time.monotonic():
                return None
            return problem(401, "X-F5-Auth-Token does not exist.")
        basic = request.headers.get("authorization", "")
        if basic.startswith("Basic "):
            given = base64.b64decode(basic.removeprefix("Basic ")).decode("utf-8", "replace")
            return None if given == f"{USER}:{self._password}" else problem(401, "Authorization failed")
        return problem(
            401,
            "Authorization failed: no user authentication header or token detected. "
            f"Uri:http://localhost:8100{request.path} Referrer:Unknown Sender:Unknown",
        )

    def _login(self, request: Request) -> Answer:
        said = json.loads(request.body or b"{}")
        if (said.get("username"), said.get("password")) != (USER, self._password):
            return problem(401, "Authentication failed.")
        token = secrets.token_hex(13).upper()
        self._tokens[token] = time.monotonic() + TOKEN_S
        provider = said.get("loginProviderName", "tmos")
        return as_json(
            {
                "username": USER,
                "loginReference": {
                    "link": "https://localhost/mgmt/cm/system/authn/providers/tmos/1f44/login"
                },
                "loginProviderName": provider,
                "token": token_described(token, TOKEN_S),
                "generation": 0,
                "lastUpdateMicros": 0,
            }
        )

    def _token(self, request: Request, body: object) -> Answer:
        token = request.path.removeprefix(f"{TOKENS}/")
        if token not in self._tokens:
            return problem(404, f"Public URI path not registered: {request.path}")
        if request.method == "DELETE":
            del self._tokens[token]
            return as_json(token_described(token, 0))
        timeout_s = TOKEN_S
        if request.method == "PATCH" and isinstance(body, dict):
            timeout_s = int(str(body.get("timeout", TOKEN_S)))
            if timeout_s > LONGEST_TOKEN_S:
                return problem(406, f"Auth-token absolute timeout ({LONGEST_TOKEN_S} seconds) exceeded")
            self._tokens[token] = time.monotonic() + timeout_s
        return as_json(token_described(token, timeout_s))

    # -- AS3 -----------------------------------------------------------------------------------------

    def _declare(self, request: Request, body: object) -> Answer:
        words = request.path.removeprefix(DECLARE).strip("/").split("/")
        named = [one for one in words[0].split(",") if one]
        if len(words) > 1 and words[1] == "applications":
            return self._applications(request, body, named[0], words[2] if len(words) > 2 else "")
        match request.method:
            case "GET":
                return self._retrieve(named, request.query)
            case "DELETE":
                gone = named or list(self.declared)
                return self._deploy({one: {"class": "Tenant"} for one in gone}, request, wanted={})
            case "POST" if isinstance(body, dict):
                return self._post(body, named, request)
            case "PATCH" if isinstance(body, list):
                return self._patch(body, request)
            case _:
                return as_json(
                    {"code": 422, "message": INVALID, "errors": [": should be object"]}, status=422
                )

    def _post(self, body: Json, named: list[str], request: Request) -> Answer:
        envelope: Json = body if body.get("class") == "AS3" else {"class": "AS3", "declaration": body}
        action = envelope.get("action", "deploy")
        declaration = envelope.get("declaration", {})
        assert isinstance(declaration, dict)
        match action:
            case "retrieve":
                return self._retrieve(named, request.query)
            case "remove":
                return self._deploy({one: {"class": "Tenant"} for one in self.declared}, request, wanted={})
            case "redeploy":
                age = int(str(envelope.get("redeployAge", 0)))
                if age >= len(self._history):
                    return as_json({"code": 404, "message": f"no declaration of age {age}"}, status=404)
                declaration = copy.deepcopy(self._history[age])
            case "patch":
                patch = envelope.get("patchBody")
                return self._patch(patch if isinstance(patch, list) else [], request)
            case "deploy" | "dry-run":
                pass
            case _:
                return as_json(
                    {
                        "code": 422,
                        "message": INVALID,
                        "errors": ["/action: should be equal to one of the allowed values"],
                    },
                    status=422,
                )
        whole = {**self.declared, **dict(tenants(declaration))}
        wrong = errors({**declaration, **({"Common": whole["Common"]} if "Common" in whole else {})})
        if wrong:
            return as_json(
                {"code": 422, "errors": wrong, "declarationFullId": "", "message": INVALID}, status=422
            )
        changes: Json = {name: tenant for name, tenant in tenants(declaration) if not named or name in named}
        if declaration.get("updateMode") == "complete":
            changes |= {one: {"class": "Tenant"} for one in self.declared if one not in changes}
        controls = declaration.get("controls")
        is_dry = action == "dry-run" or (isinstance(controls, dict) and bool(controls.get("dryRun")))
        return self._deploy(
            changes,
            request,
            wanted=declaration,
            is_dry=is_dry or request.query.get("controls.dryRun") == "true",
            is_kept=envelope.get("persist") is not False,
        )

    def _patch(self, steps: list[object], request: Request) -> Answer:
        document: Json = {"class": "ADC", "schemaVersion": "3.0.0", **copy.deepcopy(self.declared)}
        try:
            for step in steps:
                assert isinstance(step, dict)
                patched(document, step)
        except (KeyError, IndexError, ValueError, AssertionError) as error:
            return as_json(
                {"code": 422, "message": INVALID, "errors": [f"patch failed: {error}"]}, status=422
            )
        return self._post({**document, "updateMode": "complete"}, [], request)

    def _deploy(
        self,
        changes: Json,
        request: Request,
        *,
        wanted: Mapping[str, object],
        is_dry: bool = False,
        is_kept: bool = True,
    ) -> Answer:
        if not self._busy.acquire(blocking=False):
            return as_json(
                {
                    "code": 503,
                    "message": "Error: Configuration operation in progress on device undefined, "
                    "please try again in 2 minutes",
                },
                status=503,
            )
        task: Json = {
            "id": str(uuid.uuid4()),
            "results": [
                {
                    "message": "Declaration successfully submitted",
                    "tenant": "",
                    "runTime": 0,
                    "code": 0,
                    "host": "",
                }
            ],
            "declaration": {},
        }
        submitted = copy.deepcopy({**task, "selfLink": f"https://localhost{TASK}/{task['id']}"})
        with self.lock:
            self._tasks[str(task["id"])] = task
            for old in list(self._tasks)[:-TASKS]:
                del self._tasks[old]

        def work() -> None:
            try:
                self._apply(
                    task,
                    changes,
                    wanted,
                    show_hash=request.query.get("showHash") == "true",
                    is_dry=is_dry,
                    is_kept=is_kept,
                )
            finally:
                self._busy.release()

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        if request.query.get("async") != "true":
            worker.join(SWAP_AFTER_S * self.minute_s / 60)
            if not worker.is_alive():
                results = task["results"]
                assert isinstance(results, list)
                codes = {one["code"] for one in results}
                return as_json(
                    {"results": results, "declaration": task["declaration"]},
                    status=codes.pop() if len(codes) == 1 else 207,
                )
        return as_json(submitted, status=202)

    def _apply(
        self,
        task: Json,
        changes: Json,
        wanted: Mapping[str, object],
        *,
        show_hash: bool,
        is_dry: bool,
        is_kept: bool,
    ) -> None:
        began = time.monotonic()
        task["results"] = [{"code": 0, "message": "in progress", "host": "", "tenant": "", "runTime": 0}]
        self.take_time()
        fails_at = len(changes) - 1 if changes and self.orders.take(Fault.PARTIAL_FAILURE) else -1
        results: list[Json] = []
        with self.lock:
            for number, (name, tenant) in enumerate(changes.items()):
                said = self._one(name, tenant, is_dry=is_dry, fails=number == fails_at)
                run_ms = int((time.monotonic() - began) * 1000)
                results.append({**said, "host": "localhost", "tenant": name, "runTime": run_ms})
            if not results:
                results = [
                    {"code": 200, "message": "no change", "host": "localhost", "tenant": "", "runTime": 0}
                ]
            if is_dry:
                for one in results:
                    one["dryRun"] = True
            elif any(one["message"] == "success" for one in results):
                self._id = str(wanted.get("id") or f"autogen_{uuid.uuid4()}")
                self._history = [self._whole(), *self._history][:HISTORY]
                if is_kept:
                    self._saved = copy.deepcopy(self.declared)
            if show_hash:
                self._locks |= {name: self._key(name) for name in changes if name in self.declared}
            task["declaration"] = self._whole(show_hash=show_hash)
            task["results"] = results

    def _one(self, name: str, tenant: object, *, is_dry: bool, fails: bool) -> Json:
        assert isinstance(tenant, dict)
        wanted = {key: value for key, value in tenant.items() if key != "optimisticLockKey"}
        if name in self._locks and tenant.get("optimisticLockKey") != self._key(name):
            return {
                "code": 422,
                "message": "declaration failed",
                "response": f"optimisticLockKey of tenant {name} does not match",
            }
        if wanted == self.declared.get(name) or (
            name not in self.declared and not dict(objects(wanted, OF_TENANT))
        ):
            return {"code": 200, "message": "no change"}
        if fails:
            return {
                "code": 422,
                "message": "declaration failed",
                "response": f"01070734:3: Configuration error: tenant {name} could not be applied",
            }
        if shared := self._shares(name, wanted):
            return {"code": 422, "message": "declaration failed", "response": shared}
        if not is_dry:
            if dict(objects(wanted, OF_TENANT)):
                self.declared[name] = copy.deepcopy(wanted)
            else:
                self.declared.pop(name, None)
                self._locks.pop(name, None)
        return {
            "code": 200,
            "message": "success",
            "lineCount": len(json.dumps(wanted, indent=1).splitlines()),
        }

    def _shares(self, name: str, wanted: Json) -> str:
        """BIG-IP's own refusal where two virtual servers would have one address and port."""
        held = {
            place: path
            for other, tenant in self.declared.items()
            if other != name and isinstance(tenant, dict)
            for place, path in listening(other, tenant)
        }
        for place, path in listening(name, wanted):
            if place in held:
                return (
                    f"01070333:3: Virtual Server {path} illegally shares destination address, source "
                    f"address, service port, and ip-protocol with Virtual Server {held[place]}."
                )
            held[place] = path
        return ""

    def _key(self, name: str) -> str:
        text = json.dumps(self.declared.get(name), sort_keys=True).encode()
        return base64.b64encode(hashlib.sha256(text).digest()).decode()

    def _whole(self, *, show_hash: bool = False) -> Json:
        held = copy.deepcopy(self.declared)
        for name, tenant in held.items() if show_hash else ():
            assert isinstance(tenant, dict)
            tenant["optimisticLockKey"] = self._key(name)
        return {
            "class": "ADC",
            "schemaVersion": "3.0.0",
            **held,
            "id": self._id,
            "updateMode": "selective",
            "controls": {"archiveTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")},
        }

    def _retrieve(self, named: list[str], query: Mapping[str, str]) -> Answer:
        with self.lock:
            if query.get("age") == "list":
                listed = [
                    {
                        "age": age,
                        "id": one.get("id"),
                        "updateMode": "selective",
                        "date": datetime.now(UTC).isoformat(),
                    }
                    for age, one in enumerate(self._history[:4])
                ]
                return as_json(listed)
            age = int(query.get("age", "0"))
            if age >= len(self._history) and age:
                return as_json({"code": 404, "message": f"no declaration of age {age}"}, status=404)
            whole = self._history[age] if age else self._whole(show_hash=query.get("showHash") == "true")
            held = dict(tenants(whole))
            if not held:
                return Answer(status=204)
            if missing := [one for one in named if one not in held]:
                said = f"specified Tenant(s) '{','.join(missing)}' not found in declaration"
                return as_json({"code": 404, "message": said}, status=404)
            shown = {key: one for key, one in whole.items() if not named or key in named or key in RESERVED}
            if wanted := query.get("filterClass"):
                shown = of_class(shown, wanted)
            return as_json(shown)

    def _applications(self, request: Request, body: object, tenant: str, application: str) -> Answer:
        with self.lock:
            held = copy.deepcopy(self.declared.get(tenant, {"class": "Tenant"}))
        assert isinstance(held, dict)
        match request.method:
            case "GET":
                shown = {name: one for name, one in objects(held, OF_TENANT) if application in ("", name)}
                if not shown:
                    said = f"specified Tenant(s) '{tenant}' not found in declaration"
                    return as_json({"code": 404, "message": said}, status=404)
                return as_json(shown)
            case "POST" if isinstance(body, dict):
                held |= dict(objects(body, RESERVED | OF_APPLICATION))
            case "DELETE":
                held.pop(application, None)
            case _:
                return as_json(
                    {"code": 422, "message": INVALID, "errors": [": should be object"]}, status=422
                )
        return self._post({"class": "ADC", "schemaVersion": "3.0.0", tenant: held}, [], request)

    def _look(self, task_id: str) -> Answer:
        with self.lock:
            if not task_id:
                return as_json({"items": list(self._tasks.values())})
            if task_id not in self._tasks:
                return as_json({"message": f"No record found with ID of {task_id}"}, status=404)
            return as_json(self._tasks[task_id])

    # -- Declarative Onboarding ----------------------------------------------------------------------

    def _onboarding(self, request: Request, body: object) -> Answer:
        words = request.path.removeprefix(ONBOARDING).strip("/").split("/")
        if words == ["info"]:
            return as_json(
                [
                    {
                        "id": 0,
                        "version": "1.47.0",
                        "release": "14",
                        "schemaCurrent": "1.47.0",
                        "schemaMinimum": "1.0.0",
                    }
                ]
            )
        if words[0] == "task" and request.method == "GET":
            if len(words) == 1:
                return as_json(list(self._device_tasks.values()))
            if words[1] not in self._device_tasks:
                return as_json({"code": 404, "message": "Task does not exist"}, status=404)
            return as_json(self._device_tasks[words[1]])
        if request.method == "GET":
            latest = list(self._device_tasks.values())[-1:]
            return as_json(latest[0] if latest else onboarding_task("", 200, "OK", "", {}))
        if not isinstance(body, dict):
            return as_json(onboarding_task("", 400, "ERROR", "bad declaration", {}), status=400)
        declaration = body.get("declaration", body) if body.get("class") == "DO" else body
        assert isinstance(declaration, dict)
        task_id = str(uuid.uuid4())
        wrong = [need for need in ("class", "schemaVersion") if need not in declaration]
        if wrong or declaration.get("class") != "Device":
            told = onboarding_task(task_id, 400, "ERROR", "bad declaration", declaration)
            result = told["result"]
            assert isinstance(result, dict)
            result["errors"] = [f"should have required property '{one}'" for one in wrong] or [
                "class should be Device"
            ]
            return as_json(told, status=400)
        self.take_time()
        with self.lock:
            common = declaration.get("Common")
            self._device = copy.deepcopy(common) if isinstance(common, dict) else {}
            self._device_tasks[task_id] = onboarding_task(task_id, 200, "OK", "success", declaration)
        if declaration.get("async"):
            return as_json(onboarding_task(task_id, 202, "RUNNING", "processing", declaration), status=202)
        return as_json(self._device_tasks[task_id])
