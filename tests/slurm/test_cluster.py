"""The emulated cluster goes as it came."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.slurm import cluster

pytestmark = pytest.mark.skipif(cluster.why_not() is not None, reason=str(cluster.why_not()))

HOLD = """
import subprocess, time
from tests.slurm.cluster import two_nodes
with two_nodes() as environment:
    subprocess.run(["sbatch", "-Q", "-o", "/dev/null", "--wrap", "sleep 300.125"], env=environment)
    print(environment["SLURM_CONF"], flush=True)
    time.sleep(300)
"""


def processes_with(text: str) -> list[str]:
    """Command lines of the running processes that contain a text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # ended meanwhile
            continue
        found += [line] if text in line else []
    return found


def test_sigterm_leaves_neither_daemons_nor_jobs_nor_files_behind():
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as holder:
        conf = Path(holder.stdout.readline().strip())
        while holder.poll() is None and "sleep 300.125 " not in processes_with("sleep 300.125"):
            time.sleep(0.1)  # until the job runs
        started = processes_with(str(conf.parent)) + processes_with("sleep 300.125")
        installed = cluster.INSTALLED_CONF.readlink()
        holder.send_signal(signal.SIGTERM)
        assert holder.wait() == 128 + signal.SIGTERM
    for name in ("munged", "slurmctld", "slurmd", "sleep"):
        assert any(line.startswith(name) for line in started)
    assert installed == conf
    assert not processes_with(str(conf.parent)) + processes_with("sleep 300.125")
    assert not conf.parent.exists() and not cluster.INSTALLED_CONF.is_symlink()


def test_a_configuration_that_is_there_is_left_alone(tmp_path, monkeypatch):
    real = tmp_path / "slurm.conf"
    real.write_text("ClusterName=real\n")
    monkeypatch.setattr(cluster, "INSTALLED_CONF", real)
    with pytest.raises(FileExistsError, match=r"slurm\.conf exists"), cluster.two_nodes():
        pass
    assert real.read_text() == "ClusterName=real\n"
