#!/bin/sh
# Installs what the checkout needs into the checkout: uv into .build/uv, the locked packages into .venv.
# Nothing outside is written but caches, and nothing is downloaded but packages. Quick when up to date.
set -eu
cd "$(dirname "$0")/.."

UV_VERSION=0.13.8

say() { printf '%s\n' "$*"; }
stop() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

[ -w . ] || stop "$(pwd) is not writable for $(id -un)." "Clone it where you may write, or give it to yourself: chown -R $(id -un) ."
# What another user installed here cannot be brought up to date, and root's leftovers are the usual case.
for place in .build .venv; do
    if [ -e "$place" ] && [ ! -w "$place" ]; then
        stop "$place belongs to $(stat -c %U "$place"). Remove it as that user (rm -r $place), then run this again."
    fi
done
command -v git >/dev/null || stop "git is missing: apt-get install git"

# The system's own interpreter first, because every account can start it: one below /root serves root only,
# and VDUs and the tests of ordinary users run under other accounts. Then python3, then the oldest there is.
python=
lacks_venv=
for candidate in /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14 "$HOME"/.pyenv/versions/3.1[1-4].*/bin/python3; do
    found=$(command -v "$candidate" 2>/dev/null) || continue
    "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    if "$found" -c 'import venv, ensurepip' 2>/dev/null; then
        python=$found
        break
    fi
    [ -n "$lacks_venv" ] || lacks_venv=$found
done
if [ -z "$python" ] && [ -n "$lacks_venv" ]; then
    minor=$("$lacks_venv" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    stop "$lacks_venv lacks its venv module: apt-get install python$minor-venv"
fi
[ -n "$python" ] || stop "Python 3.11 or later is missing: apt-get install python3 python3-venv (Debian 12, Ubuntu 24.04 or later)"

wanted="uv $UV_VERSION; $(cat uv.lock pyproject.toml tools/setup.sh | cksum); $(pwd)"
if [ -x .venv/bin/python ] && [ "$(cat .venv/.setup-done 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# A home that cannot be written (some build accounts) must not stop anybody.
if [ ! -w "${XDG_CACHE_HOME:-$HOME}" ]; then
    export UV_CACHE_DIR="$(pwd)/.build/cache/uv" PIP_CACHE_DIR="$(pwd)/.build/cache/pip"
fi

uv=.build/uv/bin/uv
case "$("$uv" --version 2>/dev/null || true)" in
"uv $UV_VERSION"*) ;;
*)
    say "setup: installing uv $UV_VERSION into .build/uv ($("$python" --version))"
    rm -rf .build/uv
    "$python" -m venv .build/uv
    .build/uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION"
    ;;
esac

# uv reads no pip configuration. Certificates that pip was told to trust are the ones this network needs.
if [ -z "${SSL_CERT_FILE:-}" ]; then
    certificates=${PIP_CERT:-$(.build/uv/bin/python -m pip config get global.cert 2>/dev/null || true)}
    if [ -n "$certificates" ]; then
        export SSL_CERT_FILE="$certificates"
    else
        export UV_SYSTEM_CERTS=1
    fi
fi
export UV_PYTHON_DOWNLOADS=never UV_PYTHON_PREFERENCE=only-system UV_PROJECT_ENVIRONMENT=.venv

# An environment that works keeps its interpreter.
if .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=.venv/bin/python
fi

say "setup: installing the locked packages into .venv"
if ! "$uv" sync --frozen --quiet --compile-bytecode --python "$python"; then
    # A network that reaches packages only through an index named in pip's configuration: the lock's own
    # addresses do not answer there, but the same files, held to the same hashes, come through pip.
    say "setup: uv could not fetch the locked files; asking pip, by its configuration and with the lock's hashes"
    "$uv" venv --quiet --clear --seed --python "$python" .venv
    "$uv" export --frozen --quiet --no-emit-project --format requirements-txt --output-file .build/requirements.txt >/dev/null
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .build/requirements.txt
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "hatchling>=1.27" editables
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
fi
printf '%s\n' "$wanted" >.venv/.setup-done
say "setup: done, $(.venv/bin/python --version) in .venv"
