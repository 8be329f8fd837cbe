"""Random campaigns that are killed at any write: they end as undisturbed ones do, byte for byte."""

import contextlib
import csv
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import pytest
from campaigns import answers_file, started
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from badge_jax.campaign import (
    next_batch,
    open_campaign,
    reserved,
    tell_answers,
    training_rows,
    withdraw_answers,
    write_batch,
)
from badge_jax.errors import InputError

ROWS = 12


class Killed(BaseException):
    """Stands for the process that ends here."""


@contextlib.contextmanager
def killed_at_write(number):
    """Ends what runs inside at its ``number``-th write to the disk, before or after the file takes its name."""
    fsync, replace, count = os.fsync, os.replace, [0]

    def counted(do):
        def call(*args):
            count[0] += 1
            if count[0] == number:
                raise Killed
            return do(*args)

        return call

    os.fsync, os.replace = counted(fsync), counted(replace)
    try:
        with contextlib.suppress(Killed):
            yield
    finally:
        os.fsync, os.replace = fsync, replace


class Disturbed(RuleBasedStateMachine):
    """A campaign that is killed, beside a calm one that is told the same, and beside plain dictionaries."""

    strategies: tuple[str, ...] = ("margin",)  # few programs to compile

    def __init__(self):
        super().__init__()
        self.work = Path(tempfile.mkdtemp())
        self.labels, self.excluded, self.asked, self.open = {}, set(), [], set()

    @initialize(
        audit=st.sampled_from([0.0, 0.25]),
        seed=st.integers(0, 3),
        strategy=st.sampled_from(["margin", "random"]),
    )
    def start(self, audit, seed, strategy):
        options = {"audit": audit, "seed": seed, "strategy": strategy}
        self.disturbed, _ = started(self.work, ROWS, "disturbed", **options)
        self.calm, _ = started(self.work, ROWS, "calm", **options)
        self.logits = self.work / "logits.npy"

    def teardown(self):
        shutil.rmtree(self.work)

    def ask(self, folder, k):
        """`campaign next`."""
        with open_campaign(folder) as campaign:
            campaign, batch = next_batch(campaign, k, self.logits)
            write_batch(campaign, batch, None, force=True)
        return batch

    def tell(self, folder, answers, skipped="exclude"):
        """`campaign tell`."""
        with open_campaign(folder) as campaign:
            return tell_answers(campaign, [answers_file(self.work / "answers.csv", answers)], skipped)[1]

    def take_back(self, folder, rows):
        """`campaign tell --withdraw`; said again, there is nothing left to take back."""
        path = self.work / "wrong.txt"
        path.write_text("".join(f"image {row}.png\n" for row in rows))
        with open_campaign(folder) as campaign:
            state = campaign.state
            answered = (state.labels >= 0) | state.excluded
            answered[state.batch[~state.is_open]] = True
            refused = pytest.raises(InputError, match=f"none of the {len(set(rows))} rows has an answer")
            with contextlib.nullcontext() if answered[rows].any() else refused:
                withdraw_answers(campaign, [path])

    def disturb(self, command, data):
        """Runs a command that is killed: in a write, or with a part of what it appended to the log written."""
        log = self.disturbed / "log.jsonl"
        before = log.read_bytes() if log.exists() else b""
        if data.draw(st.booleans(), "in a write"):
            with killed_at_write(data.draw(st.integers(1, 6), "write")):
                command()
            return
        command()
        after = log.read_bytes() if log.exists() else b""
        assert after.startswith(before), "the log is only ever appended to"
        if len(after) > len(before):
            log.write_bytes(after[: data.draw(st.integers(len(before), len(after)), "size")])

    def run(self, command, data):
        """Runs a command in both folders; in one of them it may be killed, and is then given again."""
        if data.draw(st.booleans(), "kill"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of a line that was cut off
                self.disturb(lambda: command(self.disturbed), data)
                command(self.disturbed)
        else:
            command(self.disturbed)
        return command(self.calm)

    @rule(k=st.integers(2, 3), data=st.data())
    def ask_next(self, k, data):
        num_left = ROWS - len(self.labels) - len(self.excluded)
        if self.open:
            size = len(self.asked[-1])
            if k != size:
                for folder in (self.disturbed, self.calm):
                    with pytest.raises(
                        InputError, match=f"is open, {len(self.open)} of them without an answer"
                    ):
                        self.ask(folder, k)
                k = size
            batch = self.run(lambda folder: self.ask(folder, k), data)
            assert batch.rows.tolist() == self.asked[-1], "the same batch until it is answered"
            return
        if k > num_left:
            with pytest.raises(InputError, match="rows are left to ask for"):
                self.ask(self.disturbed, k)
            return
        rows = self.run(lambda folder: self.ask(folder, k), data).rows.tolist()
        assert len(set(rows)) == k
        assert not set(rows) & (set(self.labels) | self.excluded), "nothing is asked twice"
        self.asked.append(rows)
        self.open = set(rows)

    @rule(data=st.data(), skipped=st.sampled_from(["exclude", "offer"]))
    def tell_some(self, data, skipped):
        of_batch = sorted(self.open)
        rows = data.draw(st.lists(st.sampled_from(of_batch), unique=True), "open rows") if of_batch else []
        rows += data.draw(st.lists(st.integers(0, ROWS - 1), max_size=2), "any rows")
        answers = {row: data.draw(st.integers(-1, 2), "label") for row in rows}
        self.run(lambda folder: self.tell(folder, answers, skipped), data)
        for row, label in answers.items():
            if label >= 0:
                self.labels[row] = label
                self.excluded.discard(row)
            elif row not in self.labels:
                (self.excluded.add if skipped == "exclude" else self.excluded.discard)(row)
        self.open -= set(answers)

    @precondition(lambda self: self.labels)
    @rule(data=st.data())
    def withdraw_some(self, data):
        rows = data.draw(
            st.lists(st.sampled_from(sorted(self.labels)), min_size=1, unique=True), "labeled rows"
        )
        rows += data.draw(st.lists(st.integers(0, ROWS - 1), max_size=2), "any rows")
        self.run(lambda folder: self.take_back(folder, rows), data)
        of_batch = set(self.asked[-1]) if self.asked else set()
        self.open |= of_batch & set(rows)
        for row in rows:
            self.labels.pop(row, None)
            self.excluded.discard(row)

    @precondition(lambda self: self.labels)
    @rule()
    def say_it_again(self):
        log = self.disturbed / "log.jsonl"
        before = log.read_bytes()
        assert self.tell(self.disturbed, self.labels).num_repeated == len(self.labels)
        assert log.read_bytes() == before

    @invariant()
    def it_is_as_if_nothing_had_happened(self):
        if not hasattr(self, "calm"):
            return
        logs = [folder / "log.jsonl" for folder in (self.disturbed, self.calm)]
        first, second = (log.read_bytes().rstrip(b"\n") if log.exists() else b"" for log in logs)
        assert first == second
        with open_campaign(self.disturbed) as campaign:
            state = campaign.state
        known = {row: label for row, label in enumerate(state.labels.tolist()) if label >= 0}
        assert known == self.labels, "no label is lost"
        assert set(state.batch[state.is_open].tolist()) == self.open
        assert {row for row in range(ROWS) if state.excluded[row] and row not in known} == self.excluded
        assert not reserved(state)[training_rows(state)].any()
        for number, rows in enumerate(self.asked, start=1):
            with (self.disturbed / f"batch-{number}.csv").open(newline="") as file:
                assert [int(line["index"]) for line in csv.DictReader(file)] == rows


class Many(Disturbed):
    """The same, often."""

    strategies = ("margin", "random", "badge", "coreset")


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
TestFew = Disturbed.TestCase
TestFew.settings = settings(
    max_examples=12, stateful_step_count=8, deadline=None, derandomize=True, suppress_health_check=QUIET
)
TestMany = pytest.mark.slow(Many.TestCase)
TestMany.settings = settings(
    max_examples=1000, stateful_step_count=15, deadline=None, derandomize=True, suppress_health_check=QUIET
)
