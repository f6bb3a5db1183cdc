#!/bin/sh
# Changes a device's files so that a mistake undoes itself. Runs on the device, given on the standard input of
# a shell; needs a POSIX shell, tar, flock, sha256sum, setsid and a clock, nothing else.
#
#   guard.sh DIR apply ID SECONDS DIGEST < ARCHIVE   install, activate; taken back after SECONDS unless confirmed
#   guard.sh DIR confirm|revert|outcome ID
#   guard.sh DIR hold ID SECONDS DIGEST BYTES   for what is installed from elsewhere, by programs that are run here by
#       changes/ID/gate in place of sh: ARCHIVE is the first BYTES of the input. "open" is printed when they may begin; then
#       come lines, "." for "still at it", at last "done" (taken back after SECONDS unless confirmed) or "failed". When the
#       session ends before that, or nothing is heard for SECONDS (10 at least), the change is taken back and nobody gets
#       through the gate any more.
#
# ARCHIVE holds: fetch, check, activate (shell scripts), files (lines "N MODE PATH") and new/N (contents); and was (lines
# "N NAME") for what is no file in truth: what `fetch` prints of it after "=== NAME", each line after a blank, is what a
# revert installs; of a change that is held: gate, and no new/N.
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
    end_switch "$switch"
}

end_switch() {
    if is_of_it "$1"; then kill -- "-$1" 2>/dev/null; fi
}

is_of_it() { # a process; its number may have become somebody else's
    [ -n "$1" ] && tr '\0' '\n' <"/proc/$1/cmdline" 2>/dev/null | grep -qxF "$id"
}

arm() { # the dead-man's switch: a process of the device, which no lost session takes with it
    setsid sh -c 'sleep "$1"; exec sh "$2" "$3" expire "$4"' - "$1" "$change/guard" "$dir" "$id" \
        </dev/null >/dev/null 2>&1 9>&- &
    echo $! >"$change/switch"
}

due() { # in so many seconds from now; a whole file at every moment
    echo $(($(date +%s) + $1)) >"$change/deadline.new"
    mv "$change/deadline.new" "$change/deadline"
}

shut() { # the gate, and end whoever went through it and is not back
    enter "$id" APPLYING
    own=$(group_of $$) groups=
    for one in "$change/at_work"/*; do
        pid=${one##*/}
        grep -qaF "$change/gate" "/proc/$pid/cmdline" 2>/dev/null || continue
        group=$(group_of "$pid")
        [ -z "$group" ] || [ "$group" = "$own" ] || groups="$groups -$group"
    done
    [ -n "$groups" ] || return 0
    # Each is a word of its own.
    # shellcheck disable=SC2086
    kill -s TERM -- $groups 2>/dev/null
    tries=0
    # shellcheck disable=SC2086
    while kill -s 0 -- $groups 2>/dev/null && [ $tries -lt 20 ]; do
        sleep 0.1
        tries=$((tries + 1))
    done
    # shellcheck disable=SC2086
    kill -s KILL -- $groups 2>/dev/null
    return 0
}

group_of() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 3; }

take_back() { # the change in $change; whoever calls holds the lock
    disarm
    [ "$(state "$id")" != OPEN ] || shut
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
    if is_half_way "$late" || [ "$(date +%s)" -ge "$(cat "$dir/changes/$late/deadline" 2>/dev/null || echo 0)" ]; then
        (id=$late change=$dir/changes/$late && take_back) >/dev/null
    fi
}

is_half_way() {
    case $(state "$1") in APPLYING | OPEN) return 0 ;; esac
    return 1
}

unread() { # of a change that is held nobody ends the input
    [ -n "$bytes" ] || cat >/dev/null
}

unpacked() {
    if [ -n "$bytes" ]; then head -c "$bytes" 2>/dev/null | tar -xf - -C "$change"; else tar -xf - -C "$change"; fi
}

prepare() { # all that comes before anything is touched; 64: the change is there already
    digest=$1
    case $(state "$id") in
    PENDING | CONFIRMED) unread; return 64 ;;
    REVERTED) unread; return 67 ;;
    esac
    if [ -s "$dir/pending" ]; then
        unread
        cat "$dir/pending"
        return 75
    fi
    rm -rf "$change"
    if ! { mkdir -p "$change/old" && unpacked 2>"$dir/tar.said"; }; then
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
    if ! (mkdir -p "$change/new" && cd "$change/new" && sh "$change/check") >"$change/said" 2>&1; then
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
    cp "$dir/guard" "$change/guard" || { rm -rf "$change"; return 73; }
}

apply() {
    seconds=$1
    prepare "$2"
    ready=$?
    [ $ready != 64 ] || return 0
    [ $ready = 0 ] || return $ready
    due "$seconds"
    # First, so that whoever comes after a death of ours finds the change; while it has no state nothing was changed.
    echo "$id" >"$dir/pending"
    enter "$id" APPLYING
    arm "$seconds"
    if put new && sh "$change/activate" </dev/null >"$change/said" 2>&1 9>&-; then
        enter "$id" PENDING
        return 0
    fi
    cp "$change/said" "$change/refused"
    take_back >"$change/after" || { cat "$change/refused" "$change/after"; return 69; }
    cat "$change/refused"
    return 66
}

hold() {
    seconds=$1
    prepare "$2"
    ready=$?
    [ $ready != 64 ] || { echo there; return 0; }
    [ $ready = 0 ] || return $ready
    quiet=$seconds
    [ "$quiet" -ge 10 ] || quiet=10
    mkdir "$change/at_work" && chmod 700 "$change/gate" || return 73
    echo $$ >"$change/holder"
    due "$quiet"
    echo "$id" >"$dir/pending"
    enter "$id" OPEN
    arm "$quiet"
    echo open
    while read -r word; do
        case $word in
        done)
            while_open=$(cat "$change/switch")
            # From here on the gate is shut.
            enter "$id" PENDING
            due "$seconds"
            arm "$seconds"
            end_switch "$while_open"
            return 0
            ;;
        failed) break ;;
        *) due "$quiet" ;;
        esac
    done
    take_back >"$change/after" || { cat "$change/after"; return 69; }
    return 66
}

overdue() { # waits while a change that is held is heard of, then ends who holds it, and with that the lock
    while [ "$(state "$id")" = OPEN ]; do
        left=$(($(cat "$change/deadline") - $(date +%s)))
        [ $left -gt 0 ] || break
        sleep $left
    done
    if [ "$(state "$id")" = OPEN ]; then
        holder=$(cat "$change/holder" 2>/dev/null)
        if is_of_it "$holder"; then kill "$holder"; fi
    fi
}

bytes=
mkdir -p "$dir/changes" || exit 73
[ "$verb" != expire ] || overdue
exec 9>"$dir/lock" || exit 73
flock -w 20 9 || exit 75
[ "$verb" = expire ] || unfinished
case $verb in
apply) apply "$4" "$5" ;;
hold)
    bytes=$6
    hold "$4" "$5"
    ;;
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
    case $(state "$id") in PENDING | APPLYING | OPEN) take_back ;; esac
    ;;
*) exit 2 ;;
esac
