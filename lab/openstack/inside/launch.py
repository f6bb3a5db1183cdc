"""Run one OpenStack program in this process.

launch.py call MODULE:FUNCTION PROGRAM [ARGUMENT...]               a program's main function
launch.py wsgi MODULE:FACTORY HOST:PORT PROGRAM [ARGUMENT...]      a WSGI application on eventlet's server
"""

import importlib
import os
import sys
from pathlib import Path


def load(name):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def main():
    mode, name = sys.argv[1:3]
    if mode == "call":
        sys.argv = sys.argv[3:]
        sys.exit(load(name)())
    address, sys.argv = sys.argv[3], sys.argv[4:]
    import eventlet

    eventlet.monkey_patch()
    import eventlet.wsgi

    application = load(name)()
    host, _, port = address.rpartition(":")
    with Path(os.devnull).open("w") as silent:
        eventlet.wsgi.server(
            eventlet.listen((host, int(port)), backlog=256), application, log=silent, keepalive=True
        )


main()
