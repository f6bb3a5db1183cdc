"""uWSGI entry point: LAB_APP = module:attribute, LAB_ARGV = JSON list for sys.argv."""

import importlib
import json
import os
import sys

sys.argv = json.loads(os.environ["LAB_ARGV"])
_mod, _attr = os.environ["LAB_APP"].split(":")
application = getattr(importlib.import_module(_mod), _attr)
if os.environ.get("LAB_FACTORY"):
    application = application()
