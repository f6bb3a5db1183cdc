"""The operations of RFC 6241 on one device, as the engine of NETCONF adapters needs them: errors in the
device's words, locks that name who stands in the way, and a candidate that is left as it was found.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

from farsite.model.errors import Conflict, FarsiteError, NotSupported, VnfFault
from farsite.vnfs.adapter import RETRIED, ErrorCode
from farsite.vnfs.netconf import BASE, Netconf, Reply
from farsite.vnfs.texts import masked
from farsite.vnfs.yang import Node, facts, parse, text

_CAPABILITY = "urn:ietf:params:netconf:capability:"
_MONITORING = "urn:ietf:params:xml:ns:yang:ietf-netconf-monitoring"
_NEEDED = {
    "candidate:1.0": "a candidate configuration",
    "confirmed-commit:1.1": "confirmed commits that outlive a session (persist)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Datastores:
    """The configurations of one device, and what can be done with them. `is_mark` says of a value whether it
    is one of ours; `commit_s` is how long the device may be at a commit, `timeout_s` at anything else.
    """

    device: str
    product: str
    netconf: Netconf
    meaning: Callable[[str], ErrorCode]
    is_mark: Callable[[str], bool]
    timeout_s: float
    commit_s: float

    async def open(self) -> None:
        """Open the session where there is none; nothing else does."""
        await self.netconf.open()

    def has(self, capability: str) -> bool:
        """Whether the device announces a capability of RFC 6241, named like `startup:1.0`."""
        return _CAPABILITY + capability in self.netconf.capabilities

    def refuse_what_cannot_undo(self) -> None:
        """Raises:
        NotSupported: the device has not what every change needs.
        """
        for name, words in _NEEDED.items():
            if not self.has(name):
                raise NotSupported(
                    f"{self.device} does not announce {_CAPABILITY}{name}: it has not {words}, and a change "
                    f"of it could not undo itself. Nothing was changed. Switch it on there, if the product "
                    f"has it."
                )

    @property
    def modules(self) -> Mapping[str, str]:
        """Revisions of the YANG modules that the device announces; none where it tells them otherwise
        (RFC 8526)."""
        asked = [parse_qs(one.partition("?")[2]) for one in self.netconf.capabilities if "module=" in one]
        return {one["module"][0]: one.get("revision", [""])[0] for one in asked if "module" in one}

    @contextlib.asynccontextmanager
    async def locked(self) -> AsyncGenerator[None]:
        """The candidate is ours, and what of it is not committed in the end is thrown away.

        Raises:
            Conflict: somebody else holds it, or has changes in it; says who, or where.
        """
        # Where `running` changes by commits only, the lock of the candidate holds it. More than that, one
        # device (netconfd 2.13) takes no commit back while whoever made it holds `running`.
        targets = ["running", "candidate"] if self.has("writable-running:1.0") else ["candidate"]
        locked: list[str] = []
        try:
            for target in targets:
                await self._lock(target)
                locked.append(target)
            yield
        except BaseException:
            if "candidate" in locked:
                # A session that is gone has taken lock and edits with it.
                with contextlib.suppress(FarsiteError):
                    await self.discard()
            raise
        finally:
            for target in reversed(locked):
                with contextlib.suppress(FarsiteError):
                    await self.ask(_targeted("unlock", target))

    async def _lock(self, target: str) -> None:
        reply = await self.ask(_targeted("lock", target))
        if not reply.errors:
            return
        holder = next((one.session_id for one in reply.errors if one.session_id not in ("", "0")), "")
        if not holder and target == "candidate" and not await self.uncommitted():
            # At most a mark of ours is in it, of a confirmation that broke off.
            await self.discard()
            reply = await self.ask(_targeted("lock", target))
        if reply.errors:
            raise await self._in_the_way(target, holder, reply)

    async def _in_the_way(self, target: str, holder: str, reply: Reply) -> Conflict:
        """Why a lock was refused, by name."""
        if holder:
            return Conflict(
                f"{self.device}: the {target} configuration is locked by session {holder}"
                f"{await self._who(holder)}. Nothing was changed. Wait until that is done, or end the "
                f"session.",
                about={"code": ErrorCode.BUSY},
            )
        pending = await self.uncommitted()
        if pending:
            return Conflict(
                f"{self.device} has changes in its candidate configuration that somebody made and did not "
                f"commit (in {', '.join(pending)}). They are left alone, and nothing was changed. Commit or "
                f"discard them on the device, and plan again.",
                about={"code": ErrorCode.CONFLICT},
            )
        return Conflict(
            f"{self.device} does not let us lock its {target} configuration; nothing was changed. It says: "
            f"{' '.join(reply.words.split())}. Try again.",
            about={"code": ErrorCode.BUSY},
        )

    async def _who(self, session_id: str) -> str:
        reply = await self.ask(
            f'<get xmlns="{BASE}"><filter type="subtree"><netconf-state xmlns="{_MONITORING}"><sessions>'
            f"<session><session-id>{session_id}</session-id></session></sessions></netconf-state></filter></get>"
        )
        if reply.errors:
            return ""
        told = dict(line.split(" ", 1) for line in facts(data_of(reply), {}) if " " in line)
        by = {path.rsplit("/", 1)[-1]: value for path, value in told.items()}
        if by.get("session-id") != session_id or "username" not in by:
            return ""
        return f" ({by['username']}" + (f" from {by['source-host']})" if "source-host" in by else ")")

    async def uncommitted(self) -> list[str]:
        """Names of the roots in which the candidate differs from what runs, but for marks of ours."""
        running, candidate = [
            {(one.namespace, one.name): self._without_marks(one) for one in await self.config(source)}
            for source in ("running", "candidate")
        ]
        roots = {**running, **candidate}
        return sorted({root[1] for root in roots if running.get(root) != candidate.get(root)})

    def _without_marks(self, node: Node) -> Node | None:
        """None: nothing else is in it."""
        if any(self.is_mark(one.text) for one in node.children):
            return None
        children = tuple(one for child in node.children if (one := self._without_marks(child)) is not None)
        # A container that only a mark has made is no change of anybody's.
        return replace(node, children=children) if children or node.text else None

    async def discard(self) -> None:
        """Make the candidate what runs."""
        await self.ask(f'<discard-changes xmlns="{BASE}"/>')

    async def config(self, source: str, selected: str = "") -> tuple[Node, ...]:
        """The roots of a configuration, or of what a subtree filter selects of it."""
        chosen = f'<filter type="subtree">{selected}</filter>' if selected else ""
        reply = await self.do(
            f'<get-config xmlns="{BASE}"><source><{source}/></source>{chosen}</get-config>',
            "cannot say what it runs",
        )
        return data_of(reply)

    async def edit(
        self,
        nodes: Sequence[Node],
        what: str,
        secrets: Mapping[str, str] | None = None,
        *,
        is_trial: bool = False,
    ) -> None:
        """Merge trees into the candidate, all of them or none; `is_trial`: let the device judge them only.

        `what` says what failed when it refuses, and begins with a verb; `secrets` are kept out of its words.
        """
        options = ""
        if self.has("validate:1.1") or self.has("validate:1.0"):
            options += f"<test-option>{'test-only' if is_trial else 'test-then-set'}</test-option>"
        if self.has("rollback-on-error:1.0"):
            options += "<error-option>rollback-on-error</error-option>"
        config = "".join(text(one, BASE) for one in nodes)
        await self.do(
            f'<edit-config xmlns="{BASE}"><target><candidate/></target>'
            f"<default-operation>merge</default-operation>{options}<config>{config}</config></edit-config>",
            what,
            secrets,
        )

    async def commit(self, how: str, what: str, secrets: Mapping[str, str] | None = None) -> None:
        """Commit the candidate; `how` is what the operation holds."""
        await self.do(f'<commit xmlns="{BASE}">{how}</commit>', what, secrets, timeout_s=self.commit_s)

    async def do(
        self, operation: str, what: str, secrets: Mapping[str, str] | None = None, *, timeout_s: float = 0.0
    ) -> Reply:
        """Have an operation done.

        Raises:
            VnfFault: the device refuses it, in its words.
        """
        reply = await self.ask(operation, timeout_s=timeout_s)
        if reply.errors:
            raise self.fault(what, masked(reply.words, secrets or {}))
        return reply

    async def ask(self, operation: str, *, timeout_s: float = 0.0) -> Reply:
        """Have an operation tried; its errors are the caller's business."""
        return await self.netconf.ask(operation, timeout_s=timeout_s or self.timeout_s)

    def fault(self, what: str, words: str) -> VnfFault:
        """An error in the device's own words. `what` begins with a verb."""
        code = self.meaning(words)
        again = "Repeating it may help." if RETRIED[code] else "Repeating it will not help."
        return VnfFault(
            f"{self.device} ({self.product}) {what}. It says: {' '.join(words.split())}. {again}",
            about={"code": code},
        )


def data_of(reply: Reply) -> tuple[Node, ...]:
    """The roots that a reply holds."""
    answered = parse(reply.xml.partition("?>")[2] if reply.xml.startswith("<?xml") else reply.xml)
    return tuple(root for one in answered[0].children if one.name == "data" for root in one.children)


def _targeted(operation: str, target: str) -> str:
    return f'<{operation} xmlns="{BASE}"><target><{target}/></target></{operation}>'
