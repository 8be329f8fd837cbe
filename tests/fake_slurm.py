"""SLURM's commands on one machine, as far as submitit calls them: jobs run at once, or when a hold is lifted.

``python fake_slurm.py COMMAND …`` does what COMMAND does. The folder $FAKE_SLURM holds a file for each job that
is queued or running, with its name in it; jobs wait while there is a file ``hold``.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

COMMANDS = ("sbatch", "srun", "squeue", "scontrol")


def install(folder: Path) -> None:
    """Makes the commands in a folder, which is to be on the PATH."""
    folder.mkdir()
    for name in COMMANDS:
        (folder / name).write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, __file__, name])} "$@"\n')
        (folder / name).chmod(0o755)


def sbatch(state: Path, script: str) -> None:
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", Path(script).read_text(), re.MULTILINE))
    if "refused" in options.get("partition", ""):
        sys.exit("sbatch: error: invalid partition specified: refused")
    number = len([*state.glob("number-*")]) + 1
    (state / f"number-{number}").touch()
    last = re.match(r"0-(\d+)%\d+", options.get("array", ""))
    ids = [f"{number}_{i}" for i in range(int(last[1]) + 1)] if last else [str(number)]
    for job in ids:
        (state / f"job-{job}").write_text(options["job-name"])
        # in a session of its own: a job outlives the command
        subprocess.Popen(
            [sys.executable, __file__, "supervise", script, job],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    print(f"Submitted batch job {number}")


def supervise(state: Path, script: str, job: str) -> None:
    """Runs one job, again and again while it asks for that."""
    number, _, index = job.partition("_")
    environment = {**os.environ, "SLURM_JOB_ID": number, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    if index:
        environment |= {"SLURM_ARRAY_JOB_ID": number, "SLURM_ARRAY_TASK_ID": index}
    again = True
    while again:
        while (state / "hold").exists():
            time.sleep(0.05)
        subprocess.run(["bash", script], env=environment, check=False)
        again = (state / f"requeue-{job}").exists()
        (state / f"requeue-{job}").unlink(missing_ok=True)
    (state / f"job-{job}").unlink()


def srun(state: Path, *words: str) -> None:
    number, index = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_ARRAY_TASK_ID", "")
    streams = {}
    while words[0].startswith("--"):
        if words[0] in ("--output", "--error"):
            path = words[1]
            for sign, value in (("%A", number), ("%a", index), ("%j", number), ("%t", "0")):
                path = path.replace(sign, value)
            streams[words[0]] = Path(path)
            words = words[1:]
        words = words[1:]
    with streams["--output"].open("a") as output, streams["--error"].open("a") as error:
        sys.exit(subprocess.run(words, stdout=output, stderr=error, check=False).returncode)


def squeue(state: Path, *options: str) -> None:
    (name,) = [option.partition("=")[2] for option in options if option.startswith("--name=")]
    for path in sorted(state.glob("job-*")):
        if path.read_text() == name:
            print(path.name.removeprefix("job-"))


def scontrol(state: Path, verb: str, job: str) -> None:
    assert verb == "requeue"
    (state / f"requeue-{job}").touch()
    (state / f"requeued-{job}").touch()  # for the test to see


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    globals()[command](Path(os.environ["FAKE_SLURM"]), *rest)
