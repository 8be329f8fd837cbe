"""Builds the sdist and the wheel, and installs the wheel with each extra into an environment of its own.

    python tests/release.py                    every extra that runs on any machine
    python tests/release.py --extras plots     some of them
    python tests/release.py --extras none      the wheel alone

`make release-check` runs it. It wants a package index. Each environment has the newest versions that the
package allows: they agree (`pip check`), `badge-jax --version` answers, and what the extra is for runs. The
description is checked as an index shows it (`twine check`). The extras for hardware, cuda and tpu, are left
out.
"""

import argparse
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import BytesParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = [
    "--dataset=kropt",
    "--model=linear",
    "--strategy=random",
    "--batch-size=10",
    "--rounds=1",
    "--max-epochs=1",
]
RUN = ["badge-jax", "run", *QUICK, "--out=run"]
CHECKS = {  # extra → commands that need it
    "none": [RUN],
    "plots": [RUN, ["badge-jax", "report", "run", "--out=report"]],
    "data": [["python", "-c", "import openml, tensorflow_datasets"]],
    "formats": [["python", "-c", "import h5py, pyarrow, safetensors, zarr"]],
    "slurm": [["python", "-c", "import submitit"]],
    "dask": [["python", "-c", "import distributed"]],
}
ON_HARDWARE = ("cuda", "tpu")


def main() -> None:
    """Raises CalledProcessError or AssertionError at the first fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--extras", nargs="+", choices=[*CHECKS], default=[*CHECKS])
    parser.add_argument(
        "--out", type=Path, help="folder for the sdist and the wheel (dist)", default=ROOT / "dist"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sdist, wheel = build(Path(folder), options.out)
        check_contents(sdist, wheel)
        for extra in options.extras:
            check_extra(wheel, extra, Path(folder) / extra)
            print(f"{extra}: installs and runs", flush=True)


def build(folder: Path, out: Path) -> tuple[Path, Path]:
    """The sdist, and the wheel made from it; their description is checked as an index does."""
    tools = environment(folder / "tools", "build", "twine")
    out.mkdir(parents=True, exist_ok=True)
    call(tools, ["python", "-m", "build", "--outdir", str(folder / "built"), str(ROOT)])
    built = sorted((folder / "built").iterdir())
    call(tools, ["python", "-m", "twine", "check", "--strict", *map(str, built)])
    for path in built:
        shutil.move(path, out / path.name)
    wheel, sdist = sorted((out / path.name for path in built), key=lambda path: path.suffix != ".whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    """The wheel holds every module and nothing else; the sdist has the tests, and what the docs are made of."""
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "badge_jax").rglob("*.py")} | {
        "badge_jax/py.typed"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        (metadata,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        offered = {*BytesParser().parsebytes(archive.read(metadata)).get_all("Provides-Extra")}
    assert names == modules, names ^ modules
    assert offered == {*CHECKS, *ON_HARDWARE} - {"none"}, f"extras without a check: {offered}"
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        "tests/conftest.py",
        "docs/start.md",
        "mkdocs.yml",
        "Makefile",
        "constraints.txt",
        "LICENSE",
        "README.md",
    }
    assert not wanted - inside, f"the sdist lacks {wanted - inside}"


def check_extra(wheel: Path, extra: str, folder: Path) -> None:
    """Installs the wheel with an extra, and runs what it is for."""
    wanted = f"{wheel}[{extra}]" if extra != "none" else str(wheel)
    programs = environment(folder / "environment", wanted)
    call(programs, ["python", "-m", "pip", "check"], folder)
    call(programs, ["badge-jax", "--version"], folder)
    for command in CHECKS[extra]:
        call(programs, command, folder)


def environment(folder: Path, *packages: str) -> Path:
    """The folder with the programs of a new environment."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    programs = folder / "bin"
    call(programs, ["python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages])
    return programs


def call(programs: Path, words: list[str], folder: Path | None = None) -> None:
    """Runs a program of an environment, in a folder outside the checkout."""
    subprocess.run([programs / words[0], *words[1:]], cwd=folder, check=True)


if __name__ == "__main__":
    main()
