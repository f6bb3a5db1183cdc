#!/bin/sh
# Stands in place of sh for programs that install a change from elsewhere (guard.sh, hold): it lets them through while that
# change is open, and nobody after it was taken back. Who is through is known by the number of this process.
LC_ALL=C
export LC_ALL
change=$(dirname "$0")
# First, so that whoever shuts the gate meanwhile finds us, or we find it shut.
: >"$change/at_work/$$"
if [ "$(cat "$change/state")" = OPEN ]; then
    /bin/sh "$@"
    ended=$?
else
    echo "The change was taken back." >&2
    ended=75
fi
rm -f "$change/at_work/$$"
exit $ended
