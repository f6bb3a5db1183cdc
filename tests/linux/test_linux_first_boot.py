"""The first boot of a VDU: what it finds, and an appliance that is managed over SSH from then on."""

import json
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import socket

import pytest
from linux_lab import Lab, deployment, remove, shell, until, vnfc

from boot_keys import Keys
from farsite.cli.vnf_config import keys_told_on
from farsite.model.deployment import DeploymentState, NetworkSpec, Port, WantedVnfc
from farsite.model.errors import Invalid, VimFault
from farsite.model.ids import VnfcId
from farsite.vims.driver import CONSOLE_MOST
from farsite.vims.drivers.linux.agent import daemon, logs, users
from farsite.vims.drivers.linux.agent.vdu import Vdu
from farsite.vnfs.transports.ssh import SshAccess, SshShell

pytestmark = pytest.mark.linux

with_users = [
    pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for VDUs with users of their own"),
    pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="sshd is not there"),
]
BEGIN, END = "-----BEGIN SSH HOST KEY KEYS-----", "-----END SSH HOST KEY KEYS-----"
SECRET = "once-upon-a-time"


@asynccontextmanager
async def logged_in(lab: Lab, name: str, keys: Keys, host_key: str = "") -> AsyncIterator[SshShell]:
    """A shell in a VDU of the site north, through the site's own way to it."""

    async def through() -> socket:
        return await lab.sites["north"].reach(VnfcId(name), 22)

    access = SshAccess(
        host=name, host_keys=(host_key or keys.public("host"),), private_key=keys.private("operator")
    )
    opened = SshShell(name, access, through)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def north_in_the_open() -> AsyncIterator[Lab]:
    """A site that does not lie below /tmp, where programs of the host would not see it."""
    directory = Path(tempfile.mkdtemp(prefix="farsite-lab-", dir="/var/tmp"))
    lab = Lab(directory / "run")
    try:
        await lab.start("north")
        yield lab
    finally:
        await lab.sites["north"].close()
        remove(lab.run_dir)
        shutil.rmtree(directory)


def appliance(name: str, user_data: str, *ports: Port, incarnation: int = 0) -> WantedVnfc:
    return replace(
        vnfc(name, "host:appliance", *ports, incarnation=incarnation), user_data=user_data, memory_mib=256
    )


async def done(opened: SshShell, command: str) -> str:
    ran = await opened.run(command)
    assert ran.status == 0, ran
    return ran.output.strip()


def alike(count: int) -> list[str]:
    """Names of VNFCs whose keys lead to the same first ids."""
    found: dict[int, list[str]] = {}
    for number in range(1_000_000):
        name = f"vnfc-{number}"
        key = Vdu(vnfc=vnfc(name, "host:shell"), deployment="", vnf_id="").key
        there = found.setdefault(int(key, 16) % len(users.FIRST), [])
        there.append(name)
        if len(there) == count:
            return there
    raise AssertionError("no names found")


async def log_of(lab: Lab, name: str) -> str:
    return Path((await lab.compute("north", name)).details["log"]).read_text()


def host_keys(log: str) -> list[str]:
    """The host keys that a console shows, newest last."""
    return [" ".join(block.split(END)[0].split()[:2]) for block in log.split(BEGIN)[1:]]


async def test_a_vdu_finds_its_boot_data_where_it_starts(north: Lab) -> None:
    """As on a config drive: who it is and what its descriptor says to it; its successor is somebody else."""
    wanted = replace(shell("one"), user_data="#cloud-config\nusers: []\n", metadata={"role": "edge"})
    wanted = replace(
        wanted,
        configuration={
            "script": "cat user-data; grep -o 'one@[0-9]' meta-data; grep -o '\"role\": \"edge\"' meta-data; "
            "echo $FARSITE_DIRECTORY; pwd; exec sleep 1000"
        },
    )
    for incarnation in (0, 1):
        await north.ready("north", deployment("one", replace(wanted, incarnation=incarnation)))

        async def has_told() -> list[str]:
            told = (await log_of(north, "one")).splitlines()
            return told if len(told) == 6 else []

        told = await until(has_told, "it tells what it found")
        assert told[:4] == ["#cloud-config", "users: []", f"one@{incarnation}", '"role": "edge"']
        assert told[4] == told[5]


async def test_boot_data_is_for_the_vdu_alone(north: Lab) -> None:
    """It may hold keys. The agent keeps it, and whoever reads logs and resources reads none of it."""
    wanted = replace(shell("one"), user_data=f"#!/bin/sh\n# {SECRET}\n", metadata={"password": SECRET})
    await north.ready("north", deployment("one", wanted))
    found = await north.sites["north"].find("")
    assert SECRET not in str(found)
    holding: set[str] = set()
    for path in north.run_dir.rglob("*"):
        if path.is_file() and SECRET.encode() in path.read_bytes():
            holding.add(path.name)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            within = [one for one in path.parents if one.is_relative_to(north.run_dir / "sites")]
            assert any(stat.S_IMODE(one.stat().st_mode) == 0o700 for one in within), path
    assert {"user-data", "meta-data"} <= holding
    assert not [name for name in holding if name.endswith((".log", ".jsonl"))]


async def test_the_files_of_a_program_stay_in_its_vdus_directory_wherever_its_links_lead(north: Lab) -> None:
    """The agent writes them with its own powers, so a link laid by a function would be a way out."""
    outside = north.run_dir / "outside"
    outside.mkdir()
    profile = {"command": ["/bin/sh", "-c", "$script"], "files": {"conf/sub/app.conf": "port $port\n"}}
    (north.run_dir / "profiles").mkdir()
    (north.run_dir / "profiles" / "own.json").write_text(json.dumps(profile))
    script = f"cat conf/sub/app.conf; mv conf old; ln -s {outside} conf; echo moved; exec sleep 1000"
    wanted = vnfc("one", "host:own", port="7", script=script)
    await north.ready("north", deployment("one", wanted))

    async def has_moved() -> str:
        told = await log_of(north, "one")
        return told if "moved" in told else ""

    assert str(await until(has_moved, "it lays its link")).splitlines() == ["port 7", "moved"]
    await north.ready("north", deployment("one", replace(wanted, is_stopped=True)))
    await north.sites["north"].deploy(deployment("one", wanted))
    status = await north.settled("north", "one", DeploymentState.FAILED)
    assert "in place of its folder conf," in status.reason
    assert list(outside.iterdir()) == []


async def test_a_chatty_function_fills_no_disk_and_hides_no_host_key(north: Lab) -> None:
    """Its log begins anew over and over, and the console shows the newest lines and the key that was told at
    the boot. Were that gone, one that a stranger smuggled in later would be pinned without a doubt."""
    key, forged = (f"ssh-ed25519 {letter * 68}" for letter in "AB")
    script = (
        f"echo '{BEGIN}'; echo '{key} one'; echo '{END}'; "
        "for n in 1 2 3; do yes 'a line' | head -c 3000000; echo flood $n; "
        "until [ -e go$n ]; do sleep 0.05; done; done; "
        f"echo '{BEGIN}'; echo '{forged} one'; echo '{END}'; exec sleep 1000"
    )
    await north.ready("north", deployment("one", shell("one", script=script)))
    log = Path((await north.compute("north", "one")).details["log"])
    (directory,) = north.run_dir.glob("sites/*/work/*")

    async def shows(words: str) -> str:
        told = await north.sites["north"].console(VnfcId("one"))
        return told if words in told and log.stat().st_size < logs.MOST_BYTES else ""

    for number in (1, 2, 3):
        told = str(await until(partial(shows, f"flood {number}"), "its log begins anew"))
        assert len(told.encode()) <= CONSOLE_MOST
        assert keys_told_on(told, "one") == [key]
        assert sum(one.stat().st_size for one in log.parent.iterdir()) < 3 * logs.MOST_BYTES
        (directory / f"go{number}").touch()
    told = str(await until(partial(shows, forged), "it tells another key"))
    with pytest.raises(Invalid, match="different host keys"):
        keys_told_on(told, "one")


@pytest.mark.skipif(os.geteuid() == 0, reason="this is about sites without root")
async def test_a_site_without_root_refuses_an_appliance(north: Lab) -> None:
    """It has one user to give, and sshd needs another one to talk to strangers by."""
    if not Path("/usr/sbin/sshd").exists():
        pytest.skip("sshd is not there")
    assert "without root" in (await north.sites["north"].capabilities()).missing["images:host:appliance"]
    with pytest.raises(VimFault, match=r"needs users of its own.*without root"):
        await north.sites["north"].deploy(deployment("one", appliance("one", "#!/bin/sh\n")))


async def test_what_a_program_lays_down_in_its_directory_is_no_device_and_lends_nobody_power(
    north: Lab,
) -> None:
    """It is the one place of the host's disks that a program may write to."""
    script = "while read _ at _ how _; do test $at = $FARSITE_DIRECTORY && echo $how; done </proc/mounts"
    await north.ready("north", deployment("one", shell("one", script=f"{script}; exec sleep 1000")))

    async def has_told() -> str:
        return (await log_of(north, "one")).strip()

    options = str(await until(has_told, "it tells how its directory is mounted")).split(",")
    assert {"rw", "nosuid", "nodev"} <= set(options)


@pytest.mark.skipif(os.geteuid() != 0, reason="without root a program has the powers of an ordinary user")
async def test_a_program_of_the_host_has_no_power_over_the_host(north_in_the_open: Lab) -> None:
    """Whoever breaks into a load balancer shall have broken into nothing else: neither into the kernel's
    settings, nor into the site's agent, nor into what only root may read."""
    north = north_in_the_open
    secret = north.run_dir / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    (agent,) = north.run_dir.glob("sites/*/agent.sock")
    asks = f"import socket; socket.socket(socket.AF_UNIX).connect('{agent}')"
    tries = {
        "setting": "test -w /proc/sys/kernel/core_pattern",
        "secret": f"cat {secret}",
        "passwords": "cat /etc/shadow",
        "disk": "for one in /dev/*; do test -b $one && test -r $one && exit 0; done; false",
        "agent": f'/usr/bin/python3 -c "{asks}"',
        "nothing": "true",
    }
    lines = "".join(f"({command}) >/dev/null 2>&1 && echo {name}\n" for name, command in tries.items())
    script = f"{lines}echo done; exec sleep 1000"
    await north.ready("north", deployment("one", shell("one", script=script)))

    async def is_done() -> str:
        told = await log_of(north, "one")
        return told if "done" in told else ""

    assert str(await until(is_done, "it has tried")).split() == ["nothing", "done"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root is needed for VDUs with users of their own")
async def test_no_two_vdus_of_a_host_have_the_same_users(sites: Lab) -> None:
    """Else one that broke out of its directory would be in the other's. Names are chosen that would begin the
    search at the same ids, on sites whose agents know nothing of each other."""
    names = alike(3)
    places = dict(zip(names, ("north", "south", "north"), strict=True))

    async def users_of(name: str) -> int:
        pid = await sites.pid(places[name], name)
        return int(Path(f"/proc/{pid}/uid_map").read_text().split()[1])

    for name, site in places.items():
        await sites.ready(site, deployment(name, shell(name)))
    first, second, third = found = [await users_of(name) for name in names]
    assert len(set(found)) == 3
    # Its own are kept for one that is stopped, and stay its own when those before it are free again.
    stopped = replace(shell(names[1]), is_stopped=True)
    await sites.ready("south", deployment(names[1], stopped))
    await sites.sites["north"].undeploy(names[0])
    await sites.kill_agent("south")
    await sites.ready("south", deployment(names[1], stopped))
    await sites.ready("north", deployment(names[0], shell(names[0], incarnation=0)))
    await sites.ready("south", deployment(names[1], shell(names[1])))
    assert [await users_of(name) for name in names] == [first, second, third]
    held = {link.name for link in users.CLAIMS.iterdir()}
    assert {str(one) for one in found} <= held
    remove(sites.run_dir)
    left = {link.name for link in users.CLAIMS.iterdir()}
    assert not {str(one) for one in found} & left


class TestAppliance:
    """`host:appliance`: a boot script, then sshd."""

    pytestmark = with_users

    async def test_it_is_known_by_the_keys_that_its_first_boot_brought(self, north: Lab, keys: Keys) -> None:
        """So first contact takes nothing on trust: both keys are injected."""
        script = keys.script("hostname >name", "echo booted >>count", "echo 'it boots'")
        await north.ready("north", deployment("one", appliance("one", script)))
        async with logged_in(north, "one", keys) as opened:
            assert await done(opened, "id -u; cat /run/vdu/name") == "0\none"
            assert await done(opened, "stat -c %a /run/vdu/user-data") == "600"
        log = await log_of(north, "one")
        assert "it boots" in log
        assert host_keys(log) == [keys.public("host")]
        assert "PRIVATE" not in log

    async def test_without_a_host_key_it_makes_one_and_shows_it_on_its_console(
        self, north: Lab, keys: Keys
    ) -> None:
        """As guests of clouds do; every incarnation is another machine with another key."""
        known: list[str] = []
        for incarnation in (0, 1):
            script = keys.script(with_host_key=False)
            wanted = appliance("one", script, incarnation=incarnation)
            await north.ready("north", deployment("one", wanted))
            known.append(host_keys(await log_of(north, "one"))[-1])
            async with logged_in(north, "one", keys, known[-1]) as opened:
                assert await done(opened, "id -un") == "root"
        assert known[0] != known[1]

    async def test_its_boot_script_runs_once_in_its_life(self, north: Lab, keys: Keys) -> None:
        """What is stopped and started is the same machine: it keeps its key and what it was configured to."""
        port = Port(name="data", addresses=("10.1.0.1/24",))
        wanted = appliance("one", keys.script("echo booted >>count", with_host_key=False), port)
        await north.ready("north", deployment("one", wanted))
        (key,) = host_keys(await log_of(north, "one"))
        async with logged_in(north, "one", keys, key) as opened:
            await done(opened, "echo changed >/run/vdu/configured")
        await north.ready("north", deployment("one", replace(wanted, is_stopped=True)))
        await north.ready("north", deployment("one", wanted))
        assert set(host_keys(await log_of(north, "one"))) == {key}
        async with logged_in(north, "one", keys, key) as opened:
            assert await done(opened, "cat /run/vdu/count /run/vdu/configured") == "booted\nchanged"
            # Its network came over with the power over it.
            assert "10.1.0.1/24" in await done(opened, "ip -br addr show data")
            await done(opened, "ip route add 192.0.2.0/24 via 10.1.0.2")

    async def test_one_that_is_stated_to_be_stopped_boots_when_it_is_started(
        self, north: Lab, keys: Keys
    ) -> None:
        """Its namespaces come first, and are its own all the same."""
        port = Port(name="data", addresses=("10.1.0.1/24",))
        wanted = appliance("one", keys.script(), port)
        await north.ready("north", deployment("one", replace(wanted, is_stopped=True)))
        await north.ready("north", deployment("one", wanted))
        async with logged_in(north, "one", keys) as opened:
            await done(opened, "ip route add 192.0.2.0/24 via 10.1.0.2")

    async def test_a_boot_that_broke_off_is_begun_anew(self, north: Lab, keys: Keys) -> None:
        """Half a boot is none, and nobody knows which half it was."""
        script = keys.script("echo booted >>count", "sleep 1")
        await north.sites["north"].deploy(deployment("one", appliance("one", script)))

        async def has_begun() -> bool:
            return bool(list(north.run_dir.glob("sites/*/work/*/count")))

        await until(has_begun, "its boot script runs")
        await north.kill_agent("north")
        await north.ready("north", deployment("one", appliance("one", script)))
        async with logged_in(north, "one", keys) as opened:
            assert await done(opened, "cat /run/vdu/count") == "booted"

    async def test_a_boot_script_that_fails_is_a_failed_start_with_its_last_words(self, north: Lab) -> None:
        """The operator reads why where he asked for it, and none of the script's text."""
        script = f"#!/bin/sh\nkey={SECRET}\necho 'there is no licence server' >&2\nexit 3\n"
        await north.sites["north"].deploy(deployment("one", appliance("one", script)))
        status = await north.settled("north", "one", DeploymentState.FAILED)
        assert "there is no licence server" in status.reason
        assert "the boot script ended with status 3" in status.reason
        assert SECRET not in status.reason
        assert status.resource == "one"

    async def test_user_data_that_is_no_script_is_refused_without_showing_it(self, north: Lab) -> None:
        """cloud-config is for cloud-init, which an appliance has not; half of it would be worse than none."""
        text = f"#cloud-config\npassword: {SECRET}\n"
        await north.sites["north"].deploy(deployment("one", appliance("one", text)))
        status = await north.settled("north", "one", DeploymentState.FAILED)
        assert "it has to begin with #!" in status.reason
        assert SECRET not in status.reason

    async def test_its_root_has_no_power_over_the_host_and_all_over_itself(
        self, north: Lab, keys: Keys
    ) -> None:
        """It runs what a vendor wrote, as root: that must not be the root of the machine."""
        await north.sites["north"].ensure_network(NetworkSpec(id="lan"))
        port = Port(name="lan", network_id="lan", addresses=("10.1.0.1/24",))
        neighbour = replace(shell("other"), user_data=f"#!/bin/sh\n# {SECRET}\n")
        await north.ready("north", deployment("both", appliance("one", keys.script(), port), neighbour))
        records = [str(path) for path in north.run_dir.rglob("user-data")]
        assert len(records) == 2
        forbidden = [
            *("touch /etc/farsite-was-here", "touch /var/tmp/farsite-was-here"),
            *("mount -o remount,bind,rw /", "mknod /run/disk b 8 0", "ls /root/.ssh"),
            *("echo core >/proc/sys/kernel/core_pattern", "dd if=/dev/zero of=/dev/mem count=0"),
            "umount /etc/shadow; cat /etc/shadow",
            *(f"cat {path}" for path in records),
        ]
        allowed = [
            *("ip route add 192.0.2.0/24 via 10.1.0.2", "nft add table inet mine", "unshare -n true"),
            *("echo 1 >/proc/sys/net/ipv4/ip_forward", "hostname another"),
            "touch /run/vdu/mine && chown nobody /run/vdu/mine && chmod 640 /run/vdu/mine",
        ]
        async with logged_in(north, "one", keys) as opened:
            did = [one for one in forbidden if (await opened.run(one)).status == 0]
            assert did == []
            failed = [ran for one in allowed if (ran := await opened.run(one)).status]
            assert failed == []

    async def test_what_it_starts_dies_with_it(self, north: Lab, keys: Keys) -> None:
        """A daemon of a dead function must not go on serving."""
        await north.ready("north", deployment("one", appliance("one", keys.script())))
        async with logged_in(north, "one", keys) as opened:
            await done(opened, "setsid sleep 86399 </dev/null >/dev/null 2>&1 &")
        pid = await north.pid("north", "one")
        within = [one for one in _members(pid) if b"86399" in Path(f"/proc/{one}/cmdline").read_bytes()]
        assert len(within) == 1
        os.kill(pid, signal.SIGKILL)

        async def is_gone() -> bool:
            return not daemon.start_time(within[0])

        await until(is_gone, "its daemon is gone")


def _members(pid: int) -> list[int]:
    """Processes in the process namespace that a VDU's first one leads."""
    wanted = Path(f"/proc/{pid}/ns/pid").stat().st_ino
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and (entry / "ns" / "pid").stat().st_ino == wanted:
                found.append(int(entry.name))
        except OSError:
            continue
    return found
