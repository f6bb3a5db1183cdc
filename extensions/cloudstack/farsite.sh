#!/bin/sh
# The executable of a CloudStack NetworkOrchestrator extension named "farsite"; see docs/guide/cloudstack.md.
# CloudStack looks for NAME.sh in the extension's directory: copy this there under that name.
exec "${FARSITE_CLOUDSTACK:-farsite-cloudstack}" "$@"
