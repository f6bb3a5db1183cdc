"""An Apache CloudStack network, provided by a VNF of ours: the executable of a NetworkOrchestrator extension.

CloudStack runs it for every event of a network. Each network (or VPC) has one VNF; what CloudStack asks for
becomes a change of that VNF's configuration document, which Farsite applies whole or takes back. Nothing is
kept on the management server: the document itself, which Farsite keeps, says what was asked before.

Source: "Network Extension Script Protocol", framework/extensions/.../network/README.md of apache/cloudstack
(pull request 13032, merged): `<executable> <command> <payload-file> <timeout-seconds>`. The form that came
before it, with arguments and environment variables (extensions/network-extension/README.md of
weizhouapache/cloudstack), is taken too.
"""
