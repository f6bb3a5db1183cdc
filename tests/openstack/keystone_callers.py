"""Callers of our API who come with a token of a Keystone."""

from typing import Any

import httpx2

from service_bench import Service


def ask(service: Service, token: str, path: str = "/farsite/v1/me", **how: Any) -> httpx2.Response:
    method = how.pop("method", "GET")
    headers = {"X-Auth-Token": token}
    return httpx2.request(method, service.url + path, headers=headers, trust_env=False, timeout=120, **how)
