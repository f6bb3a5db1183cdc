"""`python -m lab.emulators PRODUCT --port N`: an emulated device on loopback, until interrupted."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from lab.emulators.products import PRODUCTS
from lab.emulators.server import Served
from lab.faults.certificates import Authority

EPILOG = """
These are EMULATED devices, built from the examples in the vendors' public documents. What works here has not
met the device. Told to misbehave while they run:

  curl -k https://127.0.0.1:N/emulator
  curl -k https://127.0.0.1:N/emulator/misbehave -d '{"fault": "lost-answer"}'
      faults: slow-commit (with "seconds"), lost-session, lost-answer, partial-failure; "times": null for ever
  curl -k -X POST https://127.0.0.1:N/emulator/meddle      another administrator changes something
  curl -k https://127.0.0.1:N/emulator/restart -d '{"down_s": 2}'
"""


def main(arguments: list[str]) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.emulators",
        description="An emulated device with its vendor's management API, for tests of adapters.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("product", choices=sorted(PRODUCTS), help="which product's API (emulated)")
    parser.add_argument("--port", type=int, default=0, help="on loopback (default: a free one)")
    parser.add_argument(
        "--secret", default="", help="the API key, token or password it takes (default: one that is printed)"
    )
    parser.add_argument(
        "--minute-s", type=float, default=60.0, help="how long a minute of the device takes, in seconds"
    )
    parser.add_argument(
        "--certificate", type=Path, help="where to put the certificate (default: not kept; printed path)"
    )
    chosen = parser.parse_args(arguments)
    product = PRODUCTS[chosen.product]
    secret = chosen.secret or product.default_secret
    with tempfile.TemporaryDirectory(prefix="farsite-emulator-") as directory:
        authority = Authority(chosen.certificate or Path(directory), name=f"Emulated {chosen.product}")
        served = Served(
            product.make(secret=secret, minute_s=chosen.minute_s), tls=authority.server(), port=chosen.port
        )
        with served:
            print(f"emulated {product.product} on {served.url}", flush=True)
            print(f"{product.secret_is}: {secret}", flush=True)
            print(f"certificate authority: {authority.certificate}", flush=True)
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
