"""``badge-jax run``: one experiment."""

import json
import warnings
from dataclasses import dataclass, field, fields
from pathlib import Path

import jax
import tyro

from badge_jax.cli.processes import Processes
from badge_jax.cli.progress import Progress
from badge_jax.compiled import keep_compiled_programs
from badge_jax.data import load_dataset
from badge_jax.errors import InputError
from badge_jax.runs import RunOptions, from_config, run
from badge_jax.runs.directory import parse_config
from badge_jax.runs.fields import BEFORE, code_checksum
from badge_jax.runs.options import resolve, to_config


@dataclass(frozen=True, kw_only=True)
class Run(RunOptions):
    """Run one experiment, or resume it."""

    out: Path
    """Folder of the run."""
    config: Path | None = None
    """config.json of a run to repeat: its options stand in for those that are not given here."""
    processes: tyro.conf.OmitArgPrefixes[Processes] = field(default_factory=Processes)

    def execute(self) -> None:
        keep_compiled_programs()
        with self.processes.joined():
            self._run()

    def _run(self) -> None:
        options = RunOptions(**{option.name: getattr(self, option.name) for option in fields(RunOptions)})
        if self.processes.distributed and jax.process_index() > 0:
            run(options, self.out, distributed=True)
            return
        file = self.out / "rounds.jsonl"
        num_before = file.read_bytes().count(b"\n") if file.is_file() else 0
        with Progress("loading") as progress:

            def show(line: dict) -> None:
                seconds = f"fit {line['fit_seconds']:.1f} s, query {line['query_seconds']:.2f} s"
                what = f"{options.strategy}: round"
                progress.show(what, line["round"] + 1, options.rounds + 1, f"{_outcome(line)}, {seconds}")

            rounds = run(options, self.out, show, distributed=self.processes.distributed)
        held = len(rounds) - 1
        if num_new := len(rounds) - num_before:
            state = f"{num_new} rounds written"
        elif held > options.rounds:
            state = f"complete already; it holds {held} rounds, {options.rounds} were asked for"
        else:
            state = "complete already"
        print(f"{self.out}: {state}; {_outcome(rounds[options.rounds])}")


def _outcome(line: dict) -> str:
    return f"{line['num_labeled']} labels, accuracy {100 * line['test_accuracy']:.1f} %"


def defaults_of(path: Path) -> Run:
    """`Run` with the options of a run's config.json, and no ``out``.

    A file that was changed since it was written is warned of, and believed: it may have been edited on purpose.

    Raises:
        InputError: for a file that cannot be read or is of another format.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        config, is_as_written = parse_config(path.read_bytes())
    except FileNotFoundError:
        raise InputError(f"--config {path} does not exist; wanted the config.json of a run") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--config {path} cannot be read ({error}); wanted the config.json of a run") from None
    options = from_config(config, path)
    if is_as_written is False:
        warnings.warn(
            f"{path} was edited, or damaged, since it was written (its checksum does not match); its "
            "options are taken as they are",
            UserWarning,
            stacklevel=2,
        )
    _check_unchanged(config, options)
    return Run(**vars(options), out=tyro.MISSING, config=path)


def _check_unchanged(config: dict, options: RunOptions) -> None:
    """Warns of the user's files that have changed since, and refuses data that have: that is no repeat."""
    now = to_config(resolve(options))
    config = {**BEFORE, **config}
    for name in ("strategy_options", "model_options", "cold_start_options"):
        if json.dumps(now[name]) != json.dumps(config.get(name)):
            raise InputError(f"{name} are now {now[name]}, and were {config.get(name)} in the run to repeat")
    for what, code in now["code"].items():
        if code["crc32"] != code_checksum(config, what):
            warnings.warn(
                f"{code['file']} has changed since the run to repeat was made", UserWarning, stacklevel=2
            )
    if "data_crc32" in config:
        data = load_dataset(options.dataset, seed=0, encoding=options.encoding, source=options.source)
        if data.crc32 != config["data_crc32"]:
            raise InputError(f"the data of {options.dataset} have changed since the run to repeat was made")
