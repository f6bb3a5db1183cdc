"""External links on the command line.

    CP=NETWORK[,PART]...       an external connection point bound to a network of the VIM

A part is a prefix of the network (`10.0.0.0/24`), a fixed address (`10.0.0.5`), a range
(`10.0.0.5-10.0.0.9`), `mac=MAC`, `subnet=ID` (one address from it), `port=ID` (a port that stands already)
or `group=NAME` (a security group). Naming the same connection point again says how it is bound on the next
VNFC of its VDU.
"""

from typing import cast

from farsite.model.errors import Invalid

Document = dict[str, object]


def links(texts: list[str]) -> list[Document]:
    """The links as the API takes them, one per connection point.

    Raises:
        Invalid: a text is none; says what is expected.
    """
    found: dict[tuple[str, str], Document] = {}
    configs: dict[tuple[str, str], list[Document]] = {}
    for text in texts:
        cp, separator, rest = text.partition("=")
        network, *parts = rest.split(",")
        if not separator or not cp or not network:
            raise Invalid(f'--link takes CP=NETWORK[,PART]..., not "{text}".')
        link = found.setdefault((cp, network), {"cp": cp, "network_id": network})
        config: Document = {}
        for part in parts:
            _add(link, config, part, text)
        configs.setdefault((cp, network), []).append(config)
    for key, link in found.items():
        if any(configs[key]):
            link["configs"] = configs[key]
    return list(found.values())


def _add(link: Document, config: Document, part: str, text: str) -> None:
    name, separator, value = part.partition("=")
    if separator and name in ("mac", "port"):
        config["mac" if name == "mac" else "port_id"] = value
    elif separator and name == "subnet":
        _list(config, "ips").append({"type": "IPV6" if ":" in value else "IPV4", "subnet_id": value})
    elif separator and name == "group":
        _list(link, "security_groups").append(value)
    elif separator or not part:
        raise Invalid(
            f'--link "{text}": "{part}" is no prefix, address or range, nor mac=, subnet=, port= or group=.'
        )
    elif "/" in part:
        link["cidr_v6" if ":" in part else "cidr_v4"] = part
    else:
        type_ = "IPV6" if ":" in part else "IPV4"
        first, separator, last = part.partition("-")
        _list(config, "ips").append(
            {"type": type_, "first": first, "last": last} if separator else {"type": type_, "fixed": [part]}
        )


def _list(document: Document, key: str) -> list[object]:
    """The list under a key, made when it is not there: nothing but this function puts one there."""
    return cast("list[object]", document.setdefault(key, []))
