"""Built-in VNFs of Linux sites: small, real, standard library only; they import nothing of ours.

A site agent starts one as `python -E -s -S .../farsite/functions NAME` in namespaces of its own; `vnfc`
states the contract between the two. The packages that an operator onboards are built by `packaging`.

| function | what it is | configuration document |
|---|---|---|
| `firewall` | stateful packet filter, a bump in the wire | `firewall.FirewallSettings` |
| `inspector` | stateful inspector, refuses what it did not see begin | `inspector.InspectorSettings` |
| `webserver` | HTTP/1.1 server and UDP echo | `webserver.WebserverSettings` |
| `probe` | traffic client that counts loss, order, round trips and outages | `probe.ProbeSettings` |
"""
