#!/bin/sh
# A VDU that is managed over SSH, as a vendor's appliance is: what its descriptor gives as boot data runs once, then
# sshd does until the end. Given the port of sshd. In the VDU's directory ($FARSITE_DIRECTORY, which is /run/vdu):
#
#   user-data              run once, as root, if it begins with #!; what it prints is in the VDU's log
#   ssh/host_key           sshd's host key, from the first boot; without one it makes its own
#   ssh/authorized_keys    who may log in, as root
#
# sshd's public host key is printed at every start, between the lines that cloud-init has for it.
set -u
umask 022
cd "$FARSITE_DIRECTORY" || exit 1

fail() {
    echo "appliance: $1" >&2
    exit 1
}

if [ -e user-data ] && [ ! -e .booted ]; then
    # No word of it is shown: it may be a secret.
    [ "$(head -c 2 user-data | tr -d '\0')" = '#!' ] ||
        fail "the user data is no script: it has to begin with #!. An appliance understands no other form (cloud-config ...)."
    cp user-data .boot && chmod 700 .boot || fail "the boot script cannot be laid down"
    ./.boot </dev/null || fail "the boot script ended with status $?."
    rm .boot
fi
# Also without user data: what it is given later is none of a first boot.
: >.booted || fail "its directory cannot be written"

# The host's passwords are the host's, and an account whose password cannot be read counts as locked.
sed 's/:.*/:*:::::::/' /etc/passwd >/run/shadow && chmod 600 /run/shadow && mount --bind /run/shadow /etc/shadow ||
    fail "its accounts get no passwords of their own"

mkdir -p -m 700 ssh && mkdir -p -m 755 /run/sshd || fail "there is no room for sshd"
[ -e ssh/host_key ] || ssh-keygen -q -t ed25519 -N '' -C "$(hostname)" -f ssh/host_key || fail "sshd gets no host key"
chmod 600 ssh/host_key
ssh-keygen -y -P '' -f ssh/host_key >ssh/host_key.pub || fail "ssh/host_key is no private key without a passphrase."
[ -s ssh/authorized_keys ] || echo "appliance: nobody can log in: the first boot put no key into ssh/authorized_keys"
echo '-----BEGIN SSH HOST KEY KEYS-----'
cat ssh/host_key.pub
echo '-----END SSH HOST KEY KEYS-----'

# The directory lies below one that everybody may write to (/run), which StrictModes takes amiss; it is root's itself.
cat >ssh/sshd_config <<END
Port $1
HostKey $FARSITE_DIRECTORY/ssh/host_key
AuthorizedKeysFile $FARSITE_DIRECTORY/ssh/authorized_keys
StrictModes no
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
LogLevel ERROR
SetEnv FARSITE_DIRECTORY=$FARSITE_DIRECTORY
Subsystem sftp internal-sftp
END
/usr/sbin/sshd -D -e -f "$FARSITE_DIRECTORY/ssh/sshd_config" 3>&- &
sshd=$!
# Everything else that runs here ends with this process, which is the first.
trap 'kill "$sshd" 2>/dev/null' TERM INT
while kill -0 "$sshd" 2>/dev/null; do
    wait "$sshd"
done
