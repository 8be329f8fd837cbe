"""Every command of the docs is run, or marked with what it needs; the site's pages and pictures are whole."""

import importlib.util
import os
import re
import socket
import struct
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import numpy as np
import pytest
import release
import yaml
from documents import OTHER_PAGES, PAGES, ROOT, TUTORIALS, blocks_of, text_of

import badge_jax
from badge_jax import STRATEGIES
from badge_jax.cli import _main

RUN_ELSEWHERE = {"docs/campaign.md": "tests/cli/test_campaign.py"}
RUN_ELSEWHERE |= dict.fromkeys(TUTORIALS, "tests/test_tutorials.py")
WITH_COMMANDS = [page for page in PAGES if any(not block.language for block in blocks_of(page))]
ALL_BLOCKS = [block for page in PAGES + OTHER_PAGES for block in blocks_of(page)]


@pytest.mark.parametrize("page", PAGES + OTHER_PAGES)
def test_every_block_is_run_or_marked(page):
    """A fence that is not closed, or closes another, would hide commands from the tests."""
    fences = re.findall(r"^ *```", text_of(page), re.MULTILINE)
    assert len(fences) == 2 * len(blocks_of(page))
    for block in blocks_of(page):
        where = f"{page}, line {block.line}"
        assert block.language in ("", "python", "text", "toml", "yaml", "py"), f"{where}: {block.language}"
        assert not block.mark or block.needs or block.file, f"{where}: {block.mark}"
        is_run = block.language in ("", "python") and page in PAGES + TUTORIALS
        assert is_run or block.language == "text" or block.mark, (
            f"{where}: nothing runs it, and no mark says why"
        )
        if not block.language and not block.needs and page not in TUTORIALS:
            for words in block.commands():
                programs = {"badge-jax", "export", "for", "done;"}
                assert words[0] in programs or words[0].startswith("--"), f"{where}: {words[0]} is not run"


COMMANDS = [
    pytest.param(words[words.index("badge-jax") + 1 :], id=f"{block.page}:{block.line}:{i}")
    for block in ALL_BLOCKS
    for i, words in enumerate(block.commands() if not block.language else [])
    if "badge-jax" in words and not {"--config", "--help", "--version"} & {*words}
]


def parses(words):
    try:
        _main._parse([re.sub(r"\$\w+", "0", word) for word in words])  # variables of a shell
    except SystemExit as stop:
        return not stop.code
    return True


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_is_one(words):
    """Those that need hardware too: the option parser takes them."""
    assert parses(words)


def test_a_command_that_is_none_is_rejected(capsys):
    assert not parses(["run", "--dataset", "kropt", "--strategies", "badge"])


SCRIPTS = sorted(
    {
        (words[2], tuple(re.findall(r"--[a-z][a-z-]*", " ".join(words[3:]))))
        for block in ALL_BLOCKS
        for words in (block.commands() if not block.language else [])
        if words[:2] == ["python", "-m"]
    }
)


@pytest.mark.parametrize("script", sorted({name for name, _ in SCRIPTS}))
def test_every_script_has_the_options_of_the_docs(script):
    source = Path(importlib.util.find_spec(script).origin).read_text("utf-8")
    shared = "".join(
        (ROOT / name).read_text("utf-8") for name in ("experiments/repeats.py", "benchmarks/harness.py")
    )
    for name, flags in SCRIPTS:
        for flag in flags if name == script else ():
            assert f'"{flag}"' in source + shared, f"{script} has no option {flag}"


def test_every_target_of_make_exists():
    targets = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    for page in PAGES + OTHER_PAGES:
        named = re.findall(r"`make ((?:[a-z-]+ ?)+)`", text_of(page))
        named += re.findall(r"^make ([a-z-]+)", text_of(page), re.MULTILINE)
        for target in " ".join(named).split():
            assert target in targets, f"{page} names make {target}"


def test_versions_agree():
    """The citation is of the newest release in the changelog; the package is that one or later."""
    heading = r"^## (\d+\.\d+\.\d+) \(\d{4}-\d\d-\d\d\)$"
    released = re.search(heading, text_of("CHANGELOG.md"), re.MULTILINE)[1]
    assert yaml.safe_load(text_of("CITATION.cff"))["version"] == released
    number = [int(part) for part in badge_jax.__version__.split(".")[:3]]
    assert number >= [int(part) for part in released.split(".")]
    assert badge_jax.__version__ == released or ".dev" in badge_jax.__version__


def test_the_public_workflow():
    """Its targets exist, and its versions are those that the package says it takes."""
    workflow = yaml.safe_load(text_of(".github/workflows/ci.yml"))["jobs"]
    targets = {*re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)}
    runs = [step["run"] for job in workflow.values() for step in job["steps"] if "run" in step]
    named = {word for run in runs if run.startswith("make ") for word in run.split()[1:]}
    assert named <= targets, "not in the Makefile"
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    oldest_jax, newest_jax = workflow["versions"]["strategy"]["matrix"]["jax"]
    (wanted,) = (name for name in project["dependencies"] if name.startswith("jax"))
    assert oldest_jax == f"{wanted.replace('>=', '==')}.0"
    assert newest_jax == "jax"
    assert f">={workflow['versions']['strategy']['matrix']['python'][0]}" == project["requires-python"]


def test_every_extra_is_installed_by_the_release_check():
    extras = tomllib.loads(text_of("pyproject.toml"))["project"]["optional-dependencies"]
    assert {*extras} == {*release.CHECKS, *release.ON_HARDWARE} - {"none"}


PROGRAM = """#!{python}
import csv, os, sys
from pathlib import Path

words = sys.argv[1:]
if words[0] in ("run", "sweep") and not {{"--max-epochs", "--config"}} & {{*words}}:
    words += ["--max-epochs", "3"]
if words[:2] == ["campaign", "tell"]:  # people fill in the labels
    with open(words[3], newline="") as file:
        lines = list(csv.DictReader(file))
    with open(words[3], "w", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows({{**line, "label": ("cat", "dog", "cow")[int(line["index"]) % 3]}} for line in lines)
os.execv(sys.executable, [sys.executable, "-m", "badge_jax", *words])
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return str(listener.getsockname()[1])


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """The current folder holds what pages take for granted, and the program is found by its name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    features = np.maximum(rng.normal(size=(12_000, 8)), 0).astype(np.float32)
    np.save("features.npy", features)
    np.save("logits.npy", features @ rng.normal(size=(8, 3)).astype(np.float32))
    ids = [f"picture-{row}.png" for row in range(12_000)]
    Path("ids.csv").write_text("\n".join(["id", *ids, ""]))
    Path("batch1.csv").write_text("id,label\npicture-3.png,cat\n")
    Path("answers2.csv").write_text("id,label\npicture-7.png,dog\n")
    Path("photos").mkdir()
    Path("grid.toml").write_text(
        'dataset = "kropt"\nmodel = "linear"\nstrategy = ["margin", "random"]\n'
        "batch_size = 50\nseeds = 0\nrounds = 1\n"
    )
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "badge-jax").write_text(PROGRAM.format(python=sys.executable))
    (programs / "badge-jax").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "0")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in WITH_COMMANDS if page not in RUN_ELSEWHERE])
def test_commands_run(page, desk):
    """From top to bottom. Networks train for three epochs where the page does not say for how many."""
    namespace = {}
    for block in blocks_of(page):
        if block.needs:
            continue
        if block.file:
            Path(block.file).write_text(block.text, "utf-8")
        if block.language == "python":
            exec(compile(block.text, f"{page}, line {block.line}", "exec"), namespace)
        elif not block.language:
            script = block.text.replace("localhost:12345", f"localhost:{free_port()}")
            done = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True)
            assert done.returncode == 0, f"{page}, line {block.line}:\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr, done.stderr


def test_what_runs_elsewhere_does():
    for page, test in RUN_ELSEWHERE.items():
        assert Path(page).stem in text_of(test)


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_every_strategy_has_its_section(name):
    """With what the strategy itself says that it reads, and a picture."""
    section = re.search(
        rf"^## {name}\n(.*?)(?=^## )", text_of("docs/each-strategy.md"), re.DOTALL | re.MULTILINE
    )
    assert section is not None, f"docs/each-strategy.md has no section {name}"
    strategy = STRATEGIES[name]()
    prefix = "Prefix-consistent" if strategy.is_prefix_consistent else "Not prefix-consistent"
    assert f"- Needs: {', '.join(strategy.needs) or 'nothing'}. {prefix}.\n" in section[1]
    for wanted in ("\n**", "- Cost: ", "- Evidence: ", f"(pictures/{name}.png)"):
        assert wanted in section[1]
    picture = (ROOT / "docs" / "pictures" / f"{name}.png").read_bytes()
    assert struct.unpack(">II", picture[16:24]) == (480, 480)


def test_no_section_or_picture_is_left_over():
    sections = re.findall(r"^## (\w+)$", text_of("docs/each-strategy.md"), re.MULTILINE)
    assert sections == [*STRATEGIES, "Yours"]
    assert {path.stem for path in (ROOT / "docs" / "pictures").glob("*.png")} == {*STRATEGIES}


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def inventory(names):
    lines = "".join(f"{name} py:function 1 docs/reference/x.html#$ -\n" for name in names)
    return b"# version 2\n# Project: x\n# Version: 0\n# zlib\n" + zlib.compress(lines.encode())


def test_a_public_name_outside_the_reference_is_reported(hooks):
    names = hooks.public_names()
    assert names["badge_jax.samplers.kmeans"] == "badge_jax.samplers._kmeans.kmeans"
    documented = hooks.names_in(inventory(names))
    assert hooks.undocumented(names, documented) == []
    (fault,) = hooks.undocumented(names, documented - {"badge_jax.samplers.gumbel_top_k"})
    assert fault.startswith("badge_jax.samplers.gumbel_top_k is public and not in the reference")


def test_every_public_package_is_in_the_reference(hooks):
    packages = {path.parent.name for path in (ROOT / "badge_jax").glob("*/__init__.py")}
    assert {*hooks.PACKAGES} == {"", *packages}
    for name in packages:
        assert f"::: badge_jax.{name}\n" in text_of(f"docs/reference/{name}.md")


def test_a_page_outside_the_navigation_is_reported(hooks):
    nav = set(re.findall(r"([\w/.-]+\.md)$", text_of("mkdocs.yml").partition("\nnav:")[2], re.MULTILINE))
    pages = {path for path in hooks.sources(ROOT) if path.endswith(".md") and path not in TUTORIALS}
    assert hooks.lost_pages(pages, nav) == []
    assert hooks.lost_pages(pages, nav - {"docs/data.md"}) == ["docs/data.md"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="other.html">', None),
        ('<a href="other.html#there">', None),
        ('<a href="#here">', None),
        ('<a href="https://example.org/x">', None),
        ('<a href="gone.html">', "page.html leads to gone.html, which is not there"),
        ('<a href="#gone">', "page.html leads to #gone, which has no such anchor"),
        ('<a href="other.html#gone">', "page.html leads to other.html#gone, which has no such anchor"),
        ('<img src="gone.png">', "page.html leads to gone.png, which is not there"),
        (
            '<script src="https://example.org/x.js">',
            "page.html fetches https://example.org/x.js from a network",
        ),
        (
            '<link rel="stylesheet" href="//example.org/x.css">',
            "page.html fetches //example.org/x.css from a network",
        ),
    ],
)
def test_dead_links_and_what_is_fetched_are_reported(hooks, tmp_path, body, fault):
    (tmp_path / "other.html").write_text('<h1 id="there"></h1>')
    (tmp_path / "page.html").write_text(f'<h1 id="here"></h1>{body}')
    assert hooks.faults_of(tmp_path / "page.html", tmp_path) == ([fault] if fault else [])


def test_pictures_lead_to_themselves(hooks):
    picture = '<img alt="curves" src="study/a.png" />'
    found = hooks.with_large_pictures(f'<p>{picture} and <a href="x">{picture}</a></p>')
    assert found == f'<p><a href="study/a.png">{picture}</a> and <a href="x">{picture}</a></p>'


def test_the_command_line_page_has_every_command(hooks):
    listed = re.findall(r"• ([a-z]+) ", hooks.help_of(["--help"], _main.main))
    assert {*hooks.COMMANDS} == {*listed}
    of_campaigns = re.findall(r"• ([a-z]+) ", hooks.help_of(["campaign", "--help"], _main.main))
    assert {*hooks.CAMPAIGN} == {*of_campaigns}


def test_a_picture_is_made_by_its_script(tmp_path):
    from experiments import pictures

    points, labels = pictures.make_points()
    pool, regions = pictures.trained_pool(points, labels)
    picks = pictures.picks_of("badge", pool)
    assert len({*picks.tolist()}) == pictures.NUM_PICKS
    assert not np.asarray(pool.labeled)[picks].any()
    pictures.draw("badge", picks, points, pool, regions, tmp_path / "picture.png")
    assert struct.unpack(">II", (tmp_path / "picture.png").read_bytes()[16:24]) == (480, 480)
