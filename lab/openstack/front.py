"""All services of a site behind proxies of ours, and a catalogue that says so.

A client that is given the front's `auth_url` learns every other address from Keystone's answers, and those
are rewritten on their way, so that it passes through the proxies whatever it asks. With a certificate the
front is what a site with TLS looks like.
"""

import json
import ssl
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.faults.kinds import Request
from lab.faults.proxy import FaultProxy, Loop

IDENTITY = "keystone"


def login_method(request: Request) -> str:
    """By what somebody logged in: `password`, `application_credential`, `token`; empty for other requests."""
    if request.method != "POST" or not request.path.endswith("/auth/tokens"):
        return ""
    try:
        return "+".join(json.loads(request.body)["auth"]["identity"]["methods"])
    except (ValueError, KeyError, TypeError):
        return "malformed"


class SiteFront:
    """Proxies before the services of a site, by the services' names (`keystone`, `heat`, `nova`...).

    `services` maps names to addresses (`http://host:port`). `ports` fixes the ports of proxies; else the
    kernel chooses. `front["heat"].inject(...)` makes a fault.
    """

    def __init__(
        self,
        services: Mapping[str, str],
        *,
        loop: Loop,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        assert IDENTITY in services
        self.proxies: dict[str, FaultProxy] = {}
        try:
            for name, address in services.items():
                self.proxies[name] = FaultProxy(
                    address,
                    loop=loop,
                    host=host,
                    port=(ports or {}).get(name, 0),
                    tls=tls,
                    describe=login_method if name == IDENTITY else None,
                )
        except OSError:
            self.close()
            raise
        addresses = {services[name]: proxy.url for name, proxy in self.proxies.items()}
        for proxy in self.proxies.values():
            proxy.replace_in_answers(addresses)

    def __getitem__(self, name: str) -> FaultProxy:
        return self.proxies[name]

    @property
    def auth_url(self) -> str:
        """Where clients log in."""
        return f"{self.proxies[IDENTITY].url}/v3"

    def counts(self) -> Counter[str]:
        """How many requests came to each service: `heat GET /v1/{id}/stacks`, `keystone POST ... token`."""
        return Counter(
            {
                f"{name} {label}": number
                for name, proxy in self.proxies.items()
                for label, number in proxy.counts().items()
            }
        )

    @contextmanager
    def counting(self) -> Iterator[Counter[str]]:
        """Count what comes while the block runs; the counter is filled at its end."""
        before = self.counts()
        found: Counter[str] = Counter()
        yield found
        found.update(self.counts() - before)

    def mend(self) -> None:
        """Withdraw every fault of every service."""
        for proxy in self.proxies.values():
            proxy.mend()

    def close(self) -> None:
        for proxy in self.proxies.values():
            proxy.close()
