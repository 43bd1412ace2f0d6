"""One real SLURM on this machine, from Debian's packages, for the whole folder."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.clusters.disturbed import slurm_says
from tests.debian import debian_command
from tests.support.processes import free_ports

CONFIGURATION = """
ClusterName=xpscale
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=2
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=5
OverTimeLimit=0
SchedulerParameters=sched_interval=1,bf_interval=2
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 CoresPerSocket=8 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=60 State=UP
PartitionName=gpu Nodes={host} MaxTime=60 State=UP
"""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    """The folder of a SLURM with partitions cpu and gpu; its commands find it."""
    debian_command("munged", "munge")
    debian_command("slurmctld", "slurm-wlm")
    folder = tmp_path_factory.mktemp("slurm")
    with contextlib.ExitStack() as stack:
        try:
            _start(folder, stack)
        except (OSError, AssertionError, subprocess.SubprocessError) as error:
            pytest.skip(f"SLURM of Debian does not start here: {error}")
        yield folder


def _start(folder, stack):
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    text = CONFIGURATION.format(host=host, folder=folder, ports=free_ports(2))
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File={folder}/gpu[0-1]\n")
    for number in range(2):  # clones of /dev/null stand for GPUs
        os.mknod(folder / f"gpu{number}", 0o20666, os.makedev(1, 3))
    environment = pytest.MonkeyPatch()
    stack.callback(environment.undo)
    environment.setenv("SLURM_CONF", str(folder / "slurm.conf"))
    stack.callback(_stop, folder, "munged", "slurmctld", "slurmd")
    _start_munge(folder)
    for command in (["slurmctld", "-c"], ["slurmd", "-N", host]):
        started = [*command, "-f", str(folder / "slurm.conf")]
        subprocess.run(started, check=True, capture_output=True, timeout=60)
    give_up = time.monotonic() + 60
    while "idle" not in slurm_says("sinfo", "--noheader", "--format=%T"):
        assert time.monotonic() < give_up, (folder / "slurmd.log").read_text()[-500:]
        time.sleep(0.2)


def _start_munge(folder):
    """Authentication of its own: a key, a socket, and a user that munge accepts."""
    (folder / "munge.key").write_bytes(os.urandom(1024))
    os.chmod(folder / "munge.key", 0o600)
    for parent in (folder, *folder.parents):
        if parent == Path("/tmp"):
            break
        os.chmod(parent, 0o755)
    files = {
        "key-file": "munge.key",
        "socket": "munge.socket",
        "pid-file": "munged.pid",
        "log-file": "munged.log",
        "seed-file": "munged.seed",
    }
    options = [f"--{option}={folder / name}" for option, name in files.items()]
    command = [shutil.which("munged"), "--force", *options]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _stop(folder, *names):
    for name in reversed(names):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((folder / f"{name}.pid").read_text()), 15)
