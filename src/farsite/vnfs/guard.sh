#!/bin/sh
# Changes a device's files so that a mistake undoes itself. Runs on the device, given on the standard input of
# a shell; needs a POSIX shell, tar, flock, sha256sum, setsid and a clock, nothing else.
#
#   guard.sh DIR apply ID SECONDS DIGEST < ARCHIVE   install, activate; taken back after SECONDS unless confirmed
#   guard.sh DIR confirm|revert|outcome ID
#
# ARCHIVE holds: fetch, check, activate (shell scripts), files (lines "N MODE PATH") and new/N (contents); and was (lines
# "N NAME") for what is no file in truth: what `fetch` prints of it after "=== NAME", each line after a blank, is what a
# revert installs.
# DIR/changes/ID holds the same with old/N (contents from before), state, deadline and said (words of the device).
# Exits: 0 done; 65 the device finds it wrong, nothing was changed; 66 it could not be activated, what was before is
# in place; 67 taken back already; 68 kept already; 69 it could not be taken back, `said` tells; 70 what runs is not
# what the plan was made against; 73 no room; 74 it cannot say what it runs; 75 another change is pending (its id is
# printed) or at work.
set -u
umask 077
# Vendors translate their words where they can; ours are matched.
LC_ALL=C
export LC_ALL
# A session that breaks off must not stop a change half-way.
trap '' HUP PIPE
dir=$1 verb=$2 id=$3
change=$dir/changes/$id

state() { cat "$dir/changes/$1/state" 2>/dev/null || echo NONE; }

enter() { # a state that a power cut leaves whole
    echo "$2" >"$dir/changes/$1/state.new" && sync "$dir/changes/$1/state.new" 2>/dev/null
    mv "$dir/changes/$1/state.new" "$dir/changes/$1/state"
}

put() { # which of old, new; by renaming, so that nobody reads half a file
    while read -r n mode path; do
        if [ -e "$change/$1/$n" ]; then
            mkdir -p "$(dirname "$path")" && cp "$change/$1/$n" "$path.farsite" &&
                chmod "$mode" "$path.farsite" && mv "$path.farsite" "$path" || return 1
        elif [ -e "$change/$1/$n.absent" ]; then
            rm -f "$path" || return 1
        fi
    done <"$change/files"
}

disarm() { # end the switch; after a restart of the device its number may be somebody else's
    switch=$(cat "$change/switch" 2>/dev/null) || return 0
    if tr '\0' '\n' <"/proc/$switch/cmdline" 2>/dev/null | grep -qxF "$id"; then kill -- "-$switch" 2>/dev/null; fi
}

take_back() { # the change in $change; whoever calls holds the lock
    disarm
    if put old && sh "$change/activate" </dev/null >"$change/said" 2>&1 9>&-; then
        enter "$id" REVERTED
        rm -f "$dir/pending"
        return 0
    fi
    enter "$id" REVERTED
    rm -f "$dir/pending"
    cat "$change/said"
    return 69
}

unfinished() { # a change that broke off half-way, or whose time ran out while nobody here lived to take it back
    late=$(cat "$dir/pending" 2>/dev/null) || return 0
    [ -n "$late" ] || return 0
    # We hold the lock, so nobody is applying it any more.
    if [ "$(state "$late")" = NONE ]; then
        rm -f "$dir/pending"
        return 0
    fi
    if [ "$(state "$late")" = APPLYING ] || [ "$(date +%s)" -ge "$(cat "$dir/changes/$late/deadline" 2>/dev/null || echo 0)" ]; then
        (id=$late change=$dir/changes/$late && take_back) >/dev/null
    fi
}

apply() {
    seconds=$1 digest=$2
    case $(state "$id") in
    PENDING | CONFIRMED) cat >/dev/null; return 0 ;;
    REVERTED) cat >/dev/null; return 67 ;;
    esac
    if [ -s "$dir/pending" ]; then
        cat >/dev/null
        cat "$dir/pending"
        return 75
    fi
    rm -rf "$change"
    if ! { mkdir -p "$change/old" && tar -xf - -C "$change" 2>"$dir/tar.said"; }; then
        cat "$dir/tar.said"
        rm -rf "$change"
        return 73
    fi
    if ! sh "$change/fetch" >"$change/fetched" 2>"$change/said"; then
        cat "$change/said" "$change/fetched"
        rm -rf "$change"
        return 74
    fi
    if [ "$(sha256sum <"$change/fetched" | cut -d ' ' -f 1)" != "$digest" ]; then
        rm -rf "$change"
        return 70
    fi
    if ! (cd "$change/new" && sh "$change/check") >"$change/said" 2>&1; then
        cat "$change/said"
        rm -rf "$change"
        return 65
    fi
    while read -r n _ path; do
        name=$(sed -n "s/^$n //p" "$change/was")
        if [ -n "$name" ]; then
            sed -n "/^=== $name\$/,/^=== /s/^ //p" "$change/fetched" >"$change/old/$n" ||
                { rm -rf "$change"; return 73; }
        elif [ -e "$path" ]; then
            cp -p "$path" "$change/old/$n" || { rm -rf "$change"; return 73; }
        else
            : >"$change/old/$n.absent" || { rm -rf "$change"; return 73; }
        fi
    done <"$change/files"
    rm -f "$change/fetched"
    cp "$dir/guard" "$change/guard"
    echo $(($(date +%s) + seconds)) >"$change/deadline"
    # First, so that whoever comes after a death of ours finds the change; while it has no state nothing was changed.
    echo "$id" >"$dir/pending"
    enter "$id" APPLYING
    # The dead-man's switch: a process of the device, which no lost session takes with it.
    setsid sh -c 'sleep "$1"; exec sh "$2" "$3" expire "$4"' - "$seconds" "$change/guard" "$dir" "$id" \
        </dev/null >/dev/null 2>&1 9>&- &
    echo $! >"$change/switch"
    if put new && sh "$change/activate" </dev/null >"$change/said" 2>&1 9>&-; then
        enter "$id" PENDING
        return 0
    fi
    cp "$change/said" "$change/refused"
    take_back >"$change/after" || { cat "$change/refused" "$change/after"; return 69; }
    cat "$change/refused"
    return 66
}

mkdir -p "$dir/changes" || exit 73
exec 9>"$dir/lock" || exit 73
flock -w 20 9 || exit 75
[ "$verb" = expire ] || unfinished
case $verb in
apply) apply "$4" "$5" ;;
outcome) state "$id" ;;
confirm)
    case $(state "$id") in
    PENDING)
        enter "$id" CONFIRMED
        rm -f "$dir/pending"
        disarm
        # Only the newest changes are kept: enough to answer who asks again.
        for old in $(ls -t "$dir/changes" | tail -n +20); do rm -rf "${dir:?}/changes/$old"; done
        ;;
    CONFIRMED) ;;
    REVERTED) exit 67 ;;
    *) exit 1 ;;
    esac
    exit 0
    ;;
revert)
    case $(state "$id") in
    PENDING) take_back ;;
    CONFIRMED) exit 68 ;;
    *) ;;
    esac
    ;;
expire)
    # This is the switch; it must not end itself before it is done.
    rm -f "$change/switch"
    case $(state "$id") in PENDING | APPLYING) take_back ;; esac
    ;;
*) exit 2 ;;
esac
