"""A Slurm cluster of two emulated nodes on this one machine, for as long as a test lasts.

munged, slurmctld and two slurmd run in the foreground as children of the caller, with their state,
keys and logs in a temporary folder and on ports of their own. Needs root, and Debian's packages
`slurm-wlm` and `munge`.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "sinfo", "scancel")
INSTALLED_CONF = Path("/etc/slurm/slurm.conf")
"""Where `srun` looks inside a job: Snakemake takes SLURM_CONF out of a job's environment."""
NODES = ("n1", "n2")
PARTITION = "two"
CPUS_PER_NODE = 2
PATIENCE_S = 60.0
"""Longest wait for a daemon to answer, in seconds."""


def why_not() -> str | None:
    """What keeps this machine from running the cluster, or None."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_path_with_sbin())]
    if missing:
        return f"{', '.join(missing)} not installed; on Debian: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "Slurm's daemons start other users' jobs, which needs root"
    return None


@contextmanager
def two_nodes() -> Iterator[dict[str, str]]:
    """Runs the cluster; yields the environment in which sbatch, squeue and Snakemake see it.

    Everything is taken down at the end, also after an error or SIGTERM.

    Raises:
        FileExistsError: this machine has a slurm.conf already, which is left as it is.
        RuntimeError: a daemon ended or did not answer; with the end of its log.
    """
    with ExitStack() as stack:
        stack.enter_context(sigterm_as_exit())
        folder = Path(tempfile.mkdtemp(prefix="iapc-slurm-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # munged wants its socket to be reachable for everyone
        conf = _write_conf(folder)
        _install_conf(conf)
        stack.callback(INSTALLED_CONF.unlink)

        environment = os.environ | {"SLURM_CONF": str(conf), "PATH": _path_with_sbin()}
        for name, command in _daemons(folder).items():
            stack.enter_context(_daemon(name, command, folder, environment))
            if name == "munged":
                _wait("munged's socket", folder, (folder / "munge.socket").exists)
        stack.callback(_cancel_all_jobs, folder, environment)
        _wait("two idle nodes", folder, lambda: _idle_nodes(environment) == list(NODES))
        yield environment


class Job(NamedTuple):
    """A job as `squeue` shows it."""

    node: str
    state: str
    gpus: str
    start: str
    end: str
    comment: str


def jobs(environment: dict[str, str]) -> list[Job]:
    """Every job so far; Snakemake's executor writes rule and wildcards into `comment`."""
    keys = "NodeList:|,State:|,tres-per-job:|,StartTime:|,EndTime:|,Comment:200"
    listed = _output(["squeue", "--states=all", "--noheader", f"--Format={keys}"], environment)
    return [Job(*map(str.strip, line.split("|"))) for line in listed.splitlines()]


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Lets SIGTERM unwind the stack, so that what was started is ended."""

    def leave(number, frame):
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write_conf(folder: Path) -> Path:
    """Writes slurm.conf and gres.conf for this folder; returns the path of slurm.conf."""
    controller, *ports = _free_ports(1 + len(NODES))
    for name in ("state", *NODES):
        (folder / name).mkdir()
    lines = [
        "ClusterName=iapc",
        f"SlurmctldHost={socket.gethostname()}(127.0.0.1)",
        f"SlurmctldPort={controller}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge.socket",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU",
        "SlurmdParameters=config_overrides",
        "ReturnToService=2",
        "MinJobAge=3600",  # ended jobs stay visible for `squeue`
        "MpiDefault=none",
        "GresTypes=gpu",
        f"StateSaveLocation={folder}/state",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdSpoolDir={folder}/%n",
        f"SlurmdPidFile={folder}/%n.pid",
        f"SlurmdLogFile={folder}/slurmd-%n.log",
        *(
            f"NodeName={node} NodeHostname={socket.gethostname()} NodeAddr=127.0.0.1 Port={port}"
            f" CPUs={CPUS_PER_NODE} RealMemory=16000 Gres=gpu:1"
            for node, port in zip(NODES, ports, strict=True)
        ),
        f"PartitionName={PARTITION} Nodes={','.join(NODES)} Default=YES State=UP",
    ]
    conf = folder / "slurm.conf"
    conf.write_text("\n".join(lines) + "\n")
    # A device that is always there stands for the GPU: Slurm counts it and never opens it.
    (folder / "gres.conf").write_text("Name=gpu File=/dev/zero\n")
    return conf


def _install_conf(conf: Path) -> None:
    """Links INSTALLED_CONF to `conf`; refuses where there is one."""
    INSTALLED_CONF.parent.mkdir(exist_ok=True)
    try:
        INSTALLED_CONF.symlink_to(conf)
    except FileExistsError:
        is_link = INSTALLED_CONF.is_symlink()
        found = f"a link to {INSTALLED_CONF.readlink()}" if is_link else "a file"
        raise FileExistsError(
            f"{INSTALLED_CONF} exists ({found}): this test would put its own there, and leaves a"
            " real cluster's configuration alone. If an earlier test that was killed left it"
            " (a link into a folder iapc-slurm-...), remove it."
        ) from None


def _daemons(folder: Path) -> dict[str, list[str]]:
    """Command of every daemon, in the order in which they start."""
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o400)
    names = {
        "key-file": "munge.key",
        "socket": "munge.socket",
        "pid-file": "munge.pid",
        "seed-file": "munge.seed",
        "log-file": "munge.log",
    }
    munged = ["munged", "--foreground", *(f"--{o}={folder / n}" for o, n in names.items())]
    conf = str(folder / "slurm.conf")
    nodes = {f"slurmd-{node}": ["slurmd", "-D", "-f", conf, "-N", node] for node in NODES}
    return {"munged": munged, "slurmctld": ["slurmctld", "-D", "-c", "-f", conf]} | nodes


@contextmanager
def _daemon(
    name: str, command: list[str], folder: Path, environment: dict[str, str]
) -> Iterator[None]:
    """Runs a daemon in the foreground; it also ends if this process is killed."""
    with (folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C ends the test, which ends the daemons in order
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cancel_all_jobs(folder: Path, environment: dict[str, str]) -> None:
    """Ends what still runs on the nodes, so that no job outlives them."""
    subprocess.run(["scancel", "--partition", PARTITION], env=environment, check=False)
    _wait("the end of all jobs", folder, lambda: not _output(["squeue", "-h"], environment))


def _idle_nodes(environment: dict[str, str]) -> list[str]:
    return _output(["sinfo", "-h", "-N", "-t", "idle", "-o", "%N"], environment).split()


def _output(command: list[str], environment: dict[str, str]) -> str:
    """What a Slurm command prints; empty where the controller does not answer yet."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout


def _wait(what: str, folder: Path, there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not there():
        if time.monotonic() > deadline:
            logs = sorted([*folder.glob("*.log"), *folder.glob("*.out")])
            ends = [f"--- {log.name}\n{log.read_text(errors='replace')[-1500:]}" for log in logs]
            raise RuntimeError(f"Waited {PATIENCE_S:.0f} s in vain for {what}.\n" + "\n".join(ends))
        time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _path_with_sbin() -> str:
    """PATH with the folders where Debian keeps daemons."""
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
