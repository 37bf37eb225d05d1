"""A real Slurm of two nodes on this machine, in a folder of its own, for the tests of slurm.pl."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
AuthType=auth/munge
AuthInfo=socket={at}/munge.socket,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
ReturnToService=2
MpiDefault=none
MessageTimeout=3
KillWait=10
GresTypes=gpu
StateSaveLocation={at}/state
SlurmdSpoolDir={at}/spool.%n
SlurmctldPidFile={at}/slurmctld.pid
SlurmdPidFile={at}/slurmd.%n.pid
SlurmctldLogFile={at}/slurmctld.log
SlurmdLogFile={at}/slurmd.%n.log
NodeName=a NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=4000 Gres=gpu:2
NodeName=b NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=4000 Gres=gpu:2
PartitionName=all Nodes=a,b Default=YES State=UP
"""


def ask(*words: object) -> str:
    return subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=30).stdout.strip()


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, ask("squeue", "--states=all")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def missing() -> str | None:
    """Which program is not installed."""
    return next((name for name in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(name) is None), None)


class Cluster:
    """The daemons of a Slurm in a folder of its own."""

    def __init__(self, at: Path):
        self.at, self.daemons = at, {}
        host = socket.gethostname().partition(".")[0]
        (at / "slurm.conf").write_text(CONF.format(at=at, host=host, ports=free_ports(3)))
        (at / "gres.conf").write_text(f"NodeName=a,b Name=gpu File={at}/gpu[0-1]\n")
        for name in ("gpu0", "gpu1"):
            (at / name).touch()
        for name in ("state", "spool.a", "spool.b"):
            (at / name).mkdir()
        (at / "munge.key").write_bytes(os.urandom(128))
        (at / "munge.key").chmod(0o400)

    def start(self, name: str, *options: str) -> None:
        with (self.at / f"{name}.out").open("ab") as out:
            words = [name.partition(".")[0], *options]
            self.daemons[name] = subprocess.Popen(words, stdout=out, stderr=out, start_new_session=True)

    def stop(self, name: str) -> None:
        daemon = self.daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextmanager
def started_cluster(at: Path) -> Iterator[Cluster]:
    """With both nodes idle at the start; SLURM_CONF must be at/slurm.conf. All is ended at the end."""
    made = Cluster(at)
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log",
             "seed-file": "munge.seed"}
    try:
        made.start("munged", "--foreground", "--force", *(f"--{key}={at}/{name}" for key, name in files.items()))
        wait_for((at / "munge.socket").exists)
        made.start("slurmctld", "-D")
        for node in "ab":
            made.start(f"slurmd.{node}", "-D", "-N", node)
        wait_for(lambda: ask("sinfo", "--noheader", "--format=%T %D") == "idle 2")
        yield made
        ask("scancel", "--user=root")
        wait_for(lambda: not ask("squeue", "--noheader"))
    finally:
        for name in list(made.daemons)[::-1]:
            made.stop(name)
