"""An emulated VyOS 1.5 with its HTTPS API.

Source: docs/automation/vyos-api of vyos/vyos-documentation; the examples are kept in `examples/vyos`. What
the document does not show and had to be decided here, so that a test may not rest on it alone: the words of
`Another confirm is pending`, `No confirm pending` and `Valid API key is required`; that deleting what is not
there is quiet unless `service https api strict` is set; that a failed component of a commit leaves the
others in place.
"""

import base64
import copy
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from lab.emulators.misbehaviour import Fault
from lab.emulators.server import Answer, Dropped, Emulator, Request, as_json
from lab.emulators.vyos_tree import Refusal, Tree, commands, faults, find, parse, put, remove, text_of

DEFAULT_KEY = "MY-HTTPS-API-PLAINTEXT-KEY"
BOOT = "/config/config.boot"
VERSION = "1.5-rolling"
BANNER = "Welcome to VyOS"
TRUE, FALSE = ("1", "yes", "true", "on", "y", "t"), ("0", "no", "false", "off", "n", "f")
MEDDLED = ["firewall", "group", "address-group", "MEDDLED", "address", "192.0.2.66"]


def factory(key: str) -> list[list[str]]:
    """What a device runs before anybody manages it."""
    return [
        *(
            ["interfaces", "ethernet", f"eth{number}", "hw-id", f"50:00:00:01:00:0{number}"]
            for number in range(4)
        ),
        ["interfaces", "ethernet", "eth0", "address", "192.0.2.1/24"],
        ["interfaces", "loopback", "lo"],
        ["service", "https", "api", "keys", "id", "farsite", "key", key],
        ["service", "ntp", "server", "time1.vyos.net"],
        ["service", "ssh", "port", "22"],
        ["system", "host-name", "vyos"],
        ["system", "login", "user", "vyos", "authentication", "plaintext-password", ""],
        ["system", "syslog", "global", "facility", "all", "level", "info"],
        ["system", "syslog", "global", "facility", "protocols", "level", "debug"],
    ]


class Vyos(Emulator):
    """One VyOS router; the API key is in its configuration, so a change can cut its own access."""

    vendor: ClassVar[str] = "VyOS"
    product: ClassVar[str] = "vyos"

    def __init__(self, *, secret: str = DEFAULT_KEY, minute_s: float = 60.0) -> None:
        super().__init__(minute_s=minute_s)
        self.running: Tree = {}
        for path in factory(secret):
            if path[-1]:
                put(self.running, path)
        self._files: dict[str, Tree] = {BOOT: copy.deepcopy(self.running)}
        self._images = ["1.5-rolling-202511280021", "1.4.3"]
        self._pending: tuple[threading.Timer, Tree] | None = None
        self._is_off = False

    # -- the base's questions ------------------------------------------------------------------------

    def is_change(self, request: Request) -> bool:
        if request.path == "/configure":
            return True
        return request.path == "/config-file" and '"save"' not in request.text

    def state(self) -> object:
        return self.running

    def meddle(self) -> None:
        with self.lock:
            put(self.running, MEDDLED)

    def lose_what_was_not_saved(self) -> None:
        with self.lock:
            self._disarm()
            self.running = copy.deepcopy(self._files[BOOT])

    def answer(self, request: Request) -> Answer:
        if self._is_off or not self._keys():
            # Without `service https api` nobody listens any more.
            raise Dropped
        if request.path == "/info":
            return self._info(request)
        if request.method != "POST":
            return as_json({"detail": "Method Not Allowed"}, status=405)
        said = _said(request)
        if said is None:
            return _failed("Request body is not JSON", status=400)
        content, key, confirm_time = said
        if key not in self._keys():
            return _failed("Valid API key is required", status=401)
        endpoints: Mapping[str, Callable[[list[dict[str, object]], int], object]] = {
            "/retrieve": self._retrieve,
            "/configure": self._configure,
            "/config-file": self._config_file,
            "/show": self._show,
            "/generate": self._generate,
            "/image": self._image,
            "/reset": lambda _, __: "",
            "/reboot": self._reboot,
            "/poweroff": self._poweroff,
        }
        if request.path not in endpoints:
            return as_json({"detail": "Not Found"}, status=404)
        try:
            return as_json(
                {"success": True, "data": endpoints[request.path](content, confirm_time), "error": None}
            )
        except Refusal as refusal:
            return _failed(str(refusal), status=400)

    def _keys(self) -> list[str]:
        named = find(self.running, ["service", "https", "api", "keys", "id"])
        every = named.values() if isinstance(named, dict) else ()
        return [str(one["key"]) for one in every if isinstance(one, dict) and "key" in one]

    # -- /info and /retrieve -------------------------------------------------------------------------

    def _info(self, request: Request) -> Answer:
        if request.method != "GET":
            return as_json({"detail": "Method Not Allowed"}, status=405)
        shown = {"version": True, "hostname": True}
        for name, value in request.query.items():
            if name not in shown:
                wrong = {
                    "type": "extra_forbidden",
                    "loc": ("query", name),
                    "msg": "Extra inputs are not permitted",
                    "input": value,
                }
                return _failed(str(wrong), status=400)
            if value.lower() not in TRUE + FALSE:
                wrong = {
                    "type": "bool_parsing",
                    "loc": ("query", name),
                    "msg": "Input should be a valid boolean, unable to interpret input",
                    "input": value,
                }
                return _failed(str(wrong), status=400)
            shown[name] = value.lower() in TRUE
        host = str(find(self.running, ["system", "host-name"]) or "vyos")
        data = {
            "version": VERSION if shown["version"] else "",
            "hostname": host if shown["hostname"] else "",
            "banner": BANNER,
        }
        return as_json({"success": True, "data": data, "error": None})

    def _retrieve(self, content: list[dict[str, object]], _: int) -> object:
        said = _one(content)
        path = _path(said)
        with self.lock:
            found = copy.deepcopy(find(self.running, path))
        match said.get("op"):
            case "exists":
                return found is not None
            case "showConfig":
                if found is None:
                    raise Refusal("Configuration under specified path is empty\n")
                if said.get("configFormat") == "raw":
                    return text_of(found) if isinstance(found, dict) else str(found)
                return found if isinstance(found, dict) else {path[-1]: found}
            case "returnValue":
                return found if isinstance(found, str) else None
            case "returnValues":
                return [found] if isinstance(found, str) else found if isinstance(found, list) else []
            case op:
                raise Refusal(f"'{op}' is not a valid operation")

    # -- changes -------------------------------------------------------------------------------------

    def _configure(self, content: list[dict[str, object]], confirm_time: int) -> object:
        if len(content) == 1 and content[0].get("op") == "confirm":
            return self._confirm()
        with self.lock:
            candidate = copy.deepcopy(self.running)
            is_strict = find(self.running, ["service", "https", "api", "strict"]) is not None
            for said in content:
                path = _path(said)
                match said.get("op"):
                    case "set":
                        put(candidate, path)
                    case "delete":
                        if not remove(candidate, path) and is_strict:
                            raise Refusal(f"Cannot delete: path [{' '.join(path)}] does not exist")
                    case "comment":
                        pass
                    case op:
                        raise Refusal(f"'{op}' is not a valid operation")
            return self._commit(candidate, confirm_time)

    def _config_file(self, content: list[dict[str, object]], confirm_time: int) -> object:
        said = _one(content)
        file = str(said.get("file") or BOOT)
        match said.get("op"):
            case "save":
                with self.lock:
                    self._files[file] = copy.deepcopy(self.running)
                return f"Saving configuration to '{file}'...\nDone\n"
            case "confirm":
                return self._confirm()
            case "load" | "merge" as op:
                with self.lock:
                    candidate: Tree = copy.deepcopy(self.running) if op == "merge" else {}
                    text = said.get("string")
                    if not isinstance(text, str):
                        if file not in self._files:
                            raise Refusal(f"Cannot open config file '{file}'\n")
                        text = text_of(self._files[file])
                    for path in parse(text):
                        put(candidate, path)
                    return self._commit(candidate, confirm_time)
            case op:
                raise Refusal(f"'{op}' is not a valid operation")

    def _commit(self, candidate: Tree, confirm_time: int) -> str | None:
        """Make the candidate what runs. Called with the lock held, as the product holds its own."""
        if confirm_time and self._pending:
            raise Refusal("Another confirm is pending\n")
        self.take_time()
        failed = faults(candidate)
        if failed:
            component, said = failed[0]
            raise Refusal(f"\n{said}\n\n[[{component}]] failed\nCommit failed\n")
        before = self.running
        changed = [name for name in {**candidate, **before} if candidate.get(name) != before.get(name)]
        if changed and self.orders.take(Fault.PARTIAL_FAILURE):
            last = max(changed)
            if last in before:
                candidate[last] = before[last]
            else:
                del candidate[last]
            self.running = candidate
            raise Refusal(f"\nAn error occurred\n\n[[{last}]] failed\nCommit failed\n")
        self.running = candidate
        if not confirm_time:
            return None
        action = find(candidate, ["system", "config-management", "commit-confirm", "action"]) or "reboot"
        timer = threading.Timer(confirm_time * self.minute_s, self._expire)
        timer.daemon = True
        timer.start()
        self._pending = (timer, before)
        return f"Initialized commit-confirm; {confirm_time} minutes to confirm before {action}\n"

    def _expire(self) -> None:
        with self.lock:
            if not self._pending:
                return
            before = self._pending[1]
            action = find(self.running, ["system", "config-management", "commit-confirm", "action"])
            self._disarm()
            if action == "reload":
                self.running = before
            else:
                self.restart(down_s=self.minute_s / 60)

    def _confirm(self) -> str:
        with self.lock:
            if not self._pending:
                return "No confirm pending\n"
            self._disarm()
            return "Reload timer stopped\n"

    def _disarm(self) -> None:
        if self._pending:
            self._pending[0].cancel()
            self._pending = None

    # -- operational ---------------------------------------------------------------------------------

    def _show(self, content: list[dict[str, object]], _: int) -> object:
        path = _path(_one(content))
        with self.lock:
            match path:
                case ["version"]:
                    return f"Version:          VyOS {VERSION}\nRelease train:    current\n"
                case ["system", "image"]:
                    lines = [
                        f"   {number}: {image}{' (default boot)' if number == 1 else ''}\n\n"
                        for number, image in enumerate(self._images, 1)
                    ]
                    return "The system currently has the following image(s) installed:\n\n" + "".join(lines)
                case ["configuration"]:
                    return text_of(self.running)
                case ["configuration", "commands"]:
                    return "".join(f"{line}\n" for line in commands(self.running))
                case ["interfaces"]:
                    return self._interfaces()
                case _:
                    raise Refusal(f"\n  Invalid command: show {' '.join(path)}\n\n")

    def _interfaces(self) -> str:
        lines = [
            "Codes: S - State, L - Link, u - Up, D - Down, A - Admin Down",
            f"{'Interface':<17}{'IP Address':<35}{'S/L':<5}Description",
            f"{'-' * 9:<17}{'-' * 10:<35}{'-' * 3:<5}{'-' * 11}",
        ]
        kinds = find(self.running, ["interfaces"])
        for kind in kinds.values() if isinstance(kinds, dict) else ():
            assert isinstance(kind, dict)
            for name, one in kind.items():
                assert isinstance(one, dict)
                address = one.get("address")
                held = address if isinstance(address, list) else ["-"]
                state = "A/D" if "disable" in one else "u/u"
                lines.append(f"{name:<17}{held[0]:<35}{state:<5}{one.get('description', '')}".rstrip())
        return "\n".join(lines) + "\n"

    def _generate(self, content: list[dict[str, object]], _: int) -> object:
        match _path(_one(content)):
            case ["pki", "wireguard", "key-pair"]:
                private = X25519PrivateKey.generate()
                public = base64.b64encode(private.public_key().public_bytes_raw()).decode()
                secret = base64.b64encode(private.private_bytes_raw()).decode()
                return f"Private key: {secret}\nPublic key: {public}\n\n"
            case ["wireguard", "default-keypair"]:
                return ""
            case path:
                raise Refusal(f"\n  Invalid command: generate {' '.join(path)}\n\n")

    def _image(self, content: list[dict[str, object]], _: int) -> object:
        said = _one(content)
        match said.get("op"):
            case "add":
                url = str(said.get("url", ""))
                self._images.append(url.rsplit("/", 1)[-1].removesuffix(".iso"))
                return f"Trying to fetch ISO file from {url}\nSetting up grub configuration...\nDone.\n"
            case "delete":
                name = str(said.get("name", ""))
                if name not in self._images:
                    raise Refusal(f'The image "{name}" cannot be found\n')
                self._images.remove(name)
                return f'Deleting the "{name}" image...\nDone\n'
            case op:
                raise Refusal(f"'{op}' is not a valid operation")

    def _reboot(self, _: list[dict[str, object]], __: int) -> object:
        self.restart(down_s=self.minute_s / 60)
        return ""

    def _poweroff(self, _: list[dict[str, object]], __: int) -> object:
        self._is_off = True
        return ""


def _failed(error: str, *, status: int) -> Answer:
    return as_json({"success": False, "error": error, "data": None}, status=status)


def _said(request: Request) -> tuple[list[dict[str, object]], str, int] | None:
    """What is asked, the key and the minutes to confirm; as form fields or, in the alternative, as JSON."""
    try:
        if request.text.lstrip().startswith("{"):
            whole: dict[str, object] = json.loads(request.text)
            key = str(whole.pop("key", ""))
            asked: object = whole.pop("commands", whole)
            minutes = whole.pop("confirm_time", 0)
        else:
            fields = request.form()
            key, minutes = fields.get("key", ""), fields.get("confirm_time", 0)
            asked = json.loads(fields.get("data", ""))
            if isinstance(asked, dict):
                minutes = asked.pop("confirm_time", minutes)
                asked = asked.pop("commands", asked)
        every: list[object] = asked if isinstance(asked, list) else [asked]
        return [one for one in every if isinstance(one, dict)], key, int(str(minutes))
    except (ValueError, TypeError):
        return None


def _one(content: Sequence[dict[str, object]]) -> dict[str, object]:
    if len(content) != 1:
        raise Refusal("a single operation is expected")
    return content[0]


def _path(said: Mapping[str, object]) -> list[str]:
    path = said.get("path", [])
    if not isinstance(path, list):
        raise Refusal('Malformed command: "path" field must be a list')
    value = said.get("value")
    return [*(str(one) for one in path), *([str(value)] if value not in (None, "") else [])]
