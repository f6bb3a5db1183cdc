"""Tells what a playbook does, as lines of JSON: `transports.ansible` reads them when it has ended.

Loaded by ansible-playbook as its one callback, so it has to do with the Python that Ansible runs with, and
with every ansible-core since 2.12. It is there because what Ansible prints is for people, and differs between
versions. What `no_log` hides has been taken out before it comes here.
"""

import json
import os
from pathlib import Path

from ansible.plugins.callback import CallbackBase

_WORDS = ("msg", "stderr", "stdout", "module_stderr", "module_stdout", "reason", "censored")


class CallbackModule(CallbackBase):
    """One line per task that changed something, failed, or lost the device; at the end one with the hosts."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "farsite_events"

    def v2_runner_on_ok(self, result, **_kwargs):
        """A task came through."""
        content = _content(result)
        changed = [one for one in _items(content) if one.get("changed")]
        if content.get("changed") and not changed:
            changed = [content]
        for one in changed:
            diffs = one.get("diff") or [{}]
            for diff in diffs if isinstance(diffs, list) else [diffs]:
                self._tell(
                    event="changed",
                    task=_name(result),
                    path=_text(diff.get("before_header") or one.get("dest") or one.get("path") or ""),
                    before=_text(diff.get("before", "")),
                    after=_text(diff.get("after", "")),
                    diff=_text(diff.get("prepared", "")),
                )

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """A task failed; with `ignore_errors` that means nothing."""
        if not ignore_errors:
            self._tell(event="failed", task=_name(result), words=_said(_content(result)))

    def v2_runner_on_unreachable(self, result, **_kwargs):
        """The device is lost."""
        self._tell(event="unreachable", task=_name(result), words=_said(_content(result)))

    def v2_playbook_on_stats(self, stats):
        """The end: whom the playbook spoke with."""
        self._tell(event="ended", hosts=sorted(stats.processed))

    def _tell(self, **event):
        with Path(os.environ["FARSITE_EVENTS"]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(event, default=str) + "\n")


def _content(result):
    # Ansible 2.19 calls it by its later name, and warns of the earlier one.
    found = getattr(result, "result", None)
    return found if isinstance(found, dict) else result._result


def _name(result):
    task = getattr(result, "task", None) or result._task
    return str(task.get_name())


def _items(content):
    return [one for one in content.get("results") or [content] if isinstance(one, dict)]


def _said(content):
    told = [content, *(one for one in _items(content) if one.get("failed"))]
    words = [_text(one[key]).strip() for one in told for key in _WORDS if one.get(key)]
    return "\n".join(dict.fromkeys(word for word in words if word))


def _text(value):
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, indent=2, default=str) + "\n"
