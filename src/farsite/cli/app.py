"""`farsite NOUN VERB`: the entry of the command line. Nouns are loaded when they are used.

Exit codes: 0 done; 1 refused or wrong usage; 2 changes pending; 3 failed or rolled back; 4 an operation rests
and needs an operator.
"""

import gc
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter

from farsite import __version__
from farsite.cli import printing, reading
from farsite.cli.exit_codes import Exit

NOUNS = {
    "vim": "VIMs: register, look at, change, forget.",
    "package": "VNF packages: onboard, look at, enable, delete.",
    "catalogue": "The catalogue: search, evidence, signed bundles, whose bundles are taken.",
    "nsd": "Network service descriptors: onboard, look at, enable, delete.",
    "vnf": "VNF instances: create, instantiate, scale, heal, terminate.",
    "ns": "Network services: create, instantiate, terminate, count packets.",
    "op": "Operations: what runs, why it waits, how to go on.",
    "alarm": "Alarms: what is wrong now and was before.",
    "adapter": "Adapters: what manages the inside of functions.",
    "broker": "Brokers: who talks to devices from where these are reachable.",
    "node": "Nodes: the processes of Farsite itself.",
    "subscription": "Subscriptions: who is told of alarms and operations.",
    "policy": "Policies: how faults are healed, and what is demanded of the VIMs that services come to.",
    "token": "API tokens: make, list, revoke.",
    "identity": "The entry of this service in a Keystone: make it, remove it.",
}

_EPILOGUE = (
    "The service is found by FARSITE_URL and FARSITE_TOKEN, else by what `farsite serve` left in its data "
    "directory (FARSITE_DATA_DIR). Names are accepted wherever ids are. Exit codes: 0 done, 1 refused or "
    "wrong usage, 2 changes pending, 3 failed or rolled back, 4 needs an operator."
)

app = App(
    name="farsite",
    help="Multi-site NFV orchestrator.",
    help_epilogue=_EPILOGUE,
    help_format="plaintext",
    version=__version__,
    default_parameter=Parameter(negative=(), show_default=False, converter=reading.read),
    result_action="return_value",
)
for _noun, _help in NOUNS.items():
    app.command(f"farsite.cli.{_noun}:app", name=_noun, help=_help)
app.command(
    "farsite.cli.doctor:doctor", name="doctor", help="What this host offers, and what would enable the rest."
)
app.command("farsite.cli.serve:serve", name="serve", help="Run the orchestrator until it is stopped.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["serve"]:
        # Nothing of what is loaded goes away again; the service collects from when it has started.
        gc.disable()
    try:
        result: object = app(
            words,
            exit_on_error=False,
            print_error=True,
        )
    except CycloptsError:
        return Exit.REFUSED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough; nothing more can be told to it.
        sys.stdout = None
        return Exit.DONE
    except Exception as error:
        return _told(error)
    return int(result) if isinstance(result, int) else Exit.DONE


def _told(error: Exception) -> int:
    """Tell people of a refusal; anything else is a bug and shows its trace."""
    from farsite.client import NotReachable, Problem
    from farsite.model.errors import FarsiteError

    match error:
        case Problem():
            printing.note(f"{error.title}: {error.detail}")
            for fault in error.faults:
                printing.note(f"  {_fault(fault)}")
        case NotReachable() | FarsiteError() | FileNotFoundError() | PermissionError() | IsADirectoryError():
            printing.note(f"{error}")
        case _:
            raise error
    return Exit.REFUSED


def _fault(fault: dict[str, object]) -> str:
    if "path" in fault:
        return f"{fault['path']}: {fault['found']}"
    line = f":{fault['line']}" if fault.get("line") else ""
    expected = f" (expected {fault['expected']})" if fault.get("expected") else ""
    where = f"{fault.get('file')}{line}: " if fault.get("file") else ""
    return f"{where}{fault.get('found', '')}{expected}"


if __name__ == "__main__":
    sys.exit(main())
