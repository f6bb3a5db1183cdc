"""The products there are emulators of, and what each needs to be started."""

from dataclasses import dataclass
from typing import Protocol

from lab.emulators import f5, fortios, panos, vyos
from lab.emulators.server import Emulator


class Maker(Protocol):
    """Makes one device of a product that takes this secret."""

    def __call__(self, *, secret: str, minute_s: float) -> Emulator: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """How one is made. `secret_is` says what its secret is called there."""

    product: str
    make: Maker
    default_secret: str
    secret_is: str


PRODUCTS = {
    "f5": Product(
        product="F5 BIG-IP (AS3, DO)",
        make=f5.F5,
        default_secret=f5.DEFAULT_PASSWORD,
        secret_is="password of admin",
    ),
    "fortios": Product(
        product="FortiOS 7.4",
        make=fortios.FortiOs,
        default_secret=fortios.DEFAULT_TOKEN,
        secret_is="access token",
    ),
    "panos": Product(
        product="PAN-OS 11.1",
        make=panos.PanOs,
        default_secret=panos.DEFAULT_PASSWORD,
        secret_is="password of admin",
    ),
    "vyos": Product(product="VyOS 1.5", make=vyos.Vyos, default_secret=vyos.DEFAULT_KEY, secret_is="API key"),
}
