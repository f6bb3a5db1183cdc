"""`farsite-cloudstack COMMAND PAYLOAD-FILE TIMEOUT-SECONDS`: run by CloudStack, for each event of a network.

Exit codes, as the contract suggests: 0 done; 1 wrong usage or registration; 2 Farsite cannot be reached; 3
Farsite refused or failed. The reason is on standard error, which CloudStack logs.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from farsite.client import Client, NotReachable, Problem
from farsite.cloudstack.asked import Asked, WrongUsage, read
from farsite.cloudstack.commands import COMMANDS, QUIET_WITHOUT_DEVICE
from farsite.cloudstack.device import Device, NotDone


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> str:
    """Do one command; what CloudStack is to read.

    Raises:
        WrongUsage, NotDone, Problem, NotReachable: it is not done.
    """
    asked = read(arguments, environment)
    if asked.command not in COMMANDS:
        raise WrongUsage(f'There is no command "{asked.command}".')
    with Client(asked.detail("farsite_url"), _token(asked)) as client:
        device = Device(client, asked)
        if asked.command in QUIET_WITHOUT_DEVICE and device.find() is None:
            return ""
        return COMMANDS[asked.command](asked, device)


def _token(asked: Asked) -> str:
    path = asked.detail("farsite_token_file")
    if not path:
        return asked.detail("farsite_token")
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise WrongUsage(f"The token cannot be read: {error}.") from error


def main() -> int:
    """The executable."""
    try:
        told = run(sys.argv[1:], os.environ)
    except WrongUsage as error:
        return _failed(1, str(error))
    except NotReachable as error:
        return _failed(2, str(error))
    except NotDone as error:
        return _failed(3, str(error))
    except Problem as problem:
        faults = "; ".join(str(one.get("detail", one)) for one in problem.faults)
        return _failed(3, f"{problem.title}: {problem.detail} {faults}".strip())
    if told:
        sys.stdout.write(f"{told}\n")
    return 0


def _failed(code: int, said: str) -> int:
    sys.stderr.write(f"farsite-cloudstack: {said}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
