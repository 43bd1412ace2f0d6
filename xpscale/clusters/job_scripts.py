"""Jobs of SLURM as text: the workers', and the one that runs a command."""

from __future__ import annotations

import importlib
import logging
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xpscale.errors import InvalidInputError, NotFoundError
from xpscale.runtime.executors import own_gpu
from xpscale.runtime.executors.dask import worker_environment
from xpscale.runtime.tls import certificates_folder, security

if TYPE_CHECKING:
    from xpscale.settings.slurm import Slurm

__all__ = [
    "client_script",
    "jobqueue",
    "refusal",
    "run_slurm",
    "submit",
    "worker_options",
    "worker_script",
]

STAGGER = 0.05
"""Workers end within this share of their time before the walltime, one after the other."""

END_S = 120
"""How long before its walltime the client's job is told to end."""

CLIENT = """\
#!/bin/bash
{directives}
{setup}
cd {folder} || exit
again=0
trap 'again=1; kill -TERM $command' USR1  # the walltime comes near
trap 'kill -TERM $command' TERM  # scancel
{command} &
command=$!
wait $command
code=$?
while kill -0 $command 2>/dev/null; do  # a signal has ended the waiting, not the command
    wait $command
    code=$?
done
if [ $code -eq 75 ] || {{ [ $again -eq 1 ] && [ $code -ne 0 ]; }}; then
    scontrol requeue "$SLURM_JOB_ID"  # the same command goes on from where it was
fi
exit $code
"""


def worker_options(settings: Slurm, name: str) -> dict[str, Any]:
    """Arguments for dask-jobqueue's ``SLURMCluster``.

    Parameters
    ----------
    settings
        Of the jobs.
    name
        Of all of them.
    """
    tls = certificates_folder(settings.tls)
    stagger_s = int(settings.worker_seconds * STAGGER)
    lifetime_s = settings.worker_seconds - 2 * stagger_s
    environment = [f"export {key}={value}" for key, value in worker_environment.items()]
    gpus = [f"--gres=gpu:{settings.gpus}"] * (settings.gpus > 0)
    optional = {
        "queue": settings.partition,
        "account": settings.account,
        "interface": settings.interface,
        "local_directory": settings.scratch,
    }
    return {
        **{key: value for key, value in optional.items() if value},
        "python": shlex.quote(settings.python or sys.executable),
        "job_name": name,
        "walltime": settings.walltime,
        "cores": settings.processes_per_job * settings.tasks,
        "job_cpu": settings.cores,
        "processes": settings.processes_per_job,
        "memory": settings.memory,
        "log_directory": settings.logs,
        "job_extra_directives": gpus + settings.directives,
        "job_script_prologue": [*settings.setup, *environment],
        "worker_extra_args": [
            *("--lifetime", f"{lifetime_s}s", "--lifetime-stagger", f"{stagger_s}s"),
            "--no-dashboard",
            *("--preload", own_gpu.__name__),
        ],
        "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        # what happens to workers is told by the run
        "silence_logs": logging.CRITICAL,
        **({"protocol": "tls://", "security": security(tls)} if tls else {}),
    }


def jobqueue() -> Any:
    """The package dask-jobqueue, whose import would make Ctrl-C a silent end."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        return importlib.import_module("dask_jobqueue")
    finally:
        signal.signal(signal.SIGINT, handler)


def worker_script(settings: Slurm) -> str:
    """The job of some workers, with a placeholder for the address of the scheduler.

    Parameters
    ----------
    settings
        Of the jobs.
    """
    options = worker_options(settings, "xpscale")
    for of_cluster in ("scheduler_options", "silence_logs"):
        options.pop(of_cluster)
    job = jobqueue().slurm.SLURMJob("tcp://SCHEDULER:PORT", name="NAME", **options)
    script: str = job.job_script()
    return script


def client_script(settings: Slurm, arguments: Sequence[str], folder: Path) -> str:
    """The job that runs a command, and is queued again when the command says so.

    Parameters
    ----------
    settings
        Of the cluster.
    arguments
        What follows ``xpscale``.
    folder
        Where it runs.
    """
    client = settings.client
    name = f"xpscale-{next(iter(arguments), 'client')}"
    partition, account = client.partition or settings.partition, client.account or settings.account
    lines = [
        f"--job-name={name}",
        *([f"--partition={partition}"] if partition else []),
        *([f"--account={account}"] if account else []),
        f"--time={client.walltime}",
        "--ntasks=1",
        f"--cpus-per-task={client.cores}",
        f"--mem={_megabytes(client.memory)}M",
        f"--output={settings.logs}/{name}-%j.log",
        "--requeue",
        "--open-mode=append",
        f"--signal=B:USR1@{END_S}",
        *client.directives,
    ]
    python = settings.python or sys.executable
    return CLIENT.format(
        directives="\n".join(f"#SBATCH {line}" for line in lines),
        setup="\n".join(settings.setup),
        folder=shlex.quote(str(folder)),
        command=shlex.join([python, "-m", "xpscale", *arguments]),
    )


def submit(settings: Slurm, arguments: Sequence[str]) -> str:
    """Queue a command as a job of its own, with this environment.

    Parameters
    ----------
    settings
        Of the cluster.
    arguments
        What follows ``xpscale``.

    Returns
    -------
    str
        The number of the job.

    Raises
    ------
    InvalidInputError
        SLURM refuses it; the message says why.
    """
    Path(settings.logs).mkdir(parents=True, exist_ok=True)
    asked = run_slurm(["sbatch", "--parsable"], client_script(settings, arguments, Path.cwd()))
    if asked.returncode:
        raise InvalidInputError(
            f"SLURM refuses the job: {refusal(asked)}", "Correct the cluster's settings"
        )
    return asked.stdout.strip().partition(";")[0]


def run_slurm(command: Sequence[str], text: str = "") -> subprocess.CompletedProcess[str]:
    """What a command of SLURM answers.

    Parameters
    ----------
    command
        With its arguments.
    text
        For its standard input.

    Raises
    ------
    NotFoundError
        There is no SLURM here.
    """
    try:
        return subprocess.run(
            list(command), input=text, capture_output=True, text=True, start_new_session=True
        )
    except FileNotFoundError as error:
        raise NotFoundError(
            f"there is no SLURM here: {command[0]} is not installed",
            "Run it on a machine of the cluster, or give another --cluster",
        ) from error


def refusal(asked: subprocess.CompletedProcess[str]) -> str:
    """Why a command of SLURM failed: the last line that it printed.

    Parameters
    ----------
    asked
        What it answered.
    """
    last = (asked.stderr.strip().splitlines() or ["no reason given"])[-1]
    return re.sub(r"^\w+: (error: )?", "", last)


def _megabytes(text: str) -> int:
    """Memory as SLURM counts it; ``GB`` and ``GiB`` are both 1,024 MB there."""
    number, unit = re.fullmatch(r"([\d.]+) ?([KMGT])i?B", text, re.IGNORECASE).groups()  # type: ignore[union-attr]
    return max(int(float(number) * 1024.0 ** ("KMGT".index(unit.upper()) - 1)), 1)
