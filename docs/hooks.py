"""What MkDocs asks while it builds the site: which files are pages, and whether the finished site is whole.

A page has the path on the site that it has in the repository, so one link serves both. The functions whose
names do not begin with on_ need no MkDocs, and tests call them.
"""

import contextlib
import importlib
import io
import os
import re
import zlib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
FOLDERS = ("docs", "benchmarks/results", "experiments/results")  # pages, pictures and tables in them
LINKED = ("LICENSE", "CITATION.cff")
KINDS = (".md", ".css", ".png", ".svg", ".csv", ".jsonl")
PACKAGES = (
    "",
    "strategies",
    "samplers",
    "learner",
    "training",
    "models",
    "selection",
    "campaign",
    "data",
    "runs",
)
PACKAGES += ("analysis", "cli")
COMMANDS = ("run", "sweep", "status", "report", "select", "campaign", "datasets", "strategies")


def on_config(config):
    """The tutorials in the navigation, behind the first steps: those that there are."""
    folder = ROOT / "docs" / "tutorials"
    pages = sorted(folder.glob("*.md"), key=lambda path: (path.stem != "index", path.name))
    if pages:
        config.nav.insert(2, {"Tutorials": [path.relative_to(ROOT).as_posix() for path in pages]})
    return config


def on_files(files, config):
    """The pages and pictures, under the paths of the repository."""
    from mkdocs.structure.files import File, Files

    theme = [file for file in files if not file.abs_src_path.startswith(f"{ROOT / 'docs'}{os.sep}")]
    own = [File.generated(config, path, abs_src_path=str(ROOT / path)) for path in sources(ROOT)]
    help_page = File.generated(config, "docs/reference/command-line.md", content=command_line_page())
    return Files([*theme, *own, help_page])


def on_nav(nav, config, files):
    """Fails where a page cannot be reached by the navigation."""
    from mkdocs.exceptions import PluginError

    pages = {file.src_uri for file in files.documentation_pages()}
    if lost := lost_pages(pages, {page.file.src_uri for page in nav.pages}):
        raise PluginError(f"not in the navigation (mkdocs.yml): {', '.join(lost)}")


def on_page_content(html, page, config, files):
    """Pictures that lead to themselves at full size."""
    return with_large_pictures(html)


def on_post_build(config):
    """Fails where a public name is undocumented, or a link or anchor of the finished pages leads nowhere."""
    from mkdocs.exceptions import PluginError

    site = Path(config["site_dir"])
    faults = undocumented(public_names(), names_in((site / "objects.inv").read_bytes()))
    faults += [fault for page in sorted(site.rglob("*.html")) for fault in faults_of(page, site)]
    if faults:
        raise PluginError("\n".join([f"{len(faults)} faults of the finished site:", *faults]))


def sources(root):
    """Paths of the site's files in the repository, such as ``docs/data.md``."""
    found = {path for folder in FOLDERS for path in (root / folder).rglob("*") if path.suffix in KINDS}
    return sorted({*PAGES, *LINKED, *(path.relative_to(root).as_posix() for path in found)})


def with_large_pictures(html):
    """The HTML of a page, each picture in it a link to its file; those in a link already stay."""
    return re.sub(
        r'(<a [^>]*>)?(<img [^>]*src="([^"]+)"[^>]*>)',
        lambda found: found[0] if found[1] else f'<a href="{found[3]}">{found[2]}</a>',
        html,
    )


def lost_pages(pages, reached):
    """The pages that no entry leads to. Those of benchmarks/results are reached from benchmarks/README.md."""
    return sorted(page for page in pages - reached if not page.startswith("benchmarks/results/"))


def command_line_page():
    """Markdown with what every command says of itself with ``--help``."""
    from badge_jax.cli import main

    parts = [
        "# Command line",
        "What `badge-jax COMMAND --help` prints. `python -m badge_jax` is the same program.",
    ]
    for command in COMMANDS:
        words = [
            [command, *rest] for rest in ([[]] if command != "campaign" else [[], *([c] for c in CAMPAIGN)])
        ]
        parts.append(f"## {command}")
        parts += [f"```text\n{help_of([*called, '--help'], main)}\n```" for called in words]
    return "\n\n".join(parts) + "\n"


CAMPAIGN = ("start", "next", "tell", "status", "export")


def help_of(words, main):
    """What the command line prints for some words, at a width of 84 and without colours."""
    printed = io.StringIO()
    kept = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS="84", NO_COLOR="1")
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main(words)
    finally:
        for name, value in kept.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return "\n".join(line.rstrip() for line in printed.getvalue().strip().splitlines())


def public_names():
    """Everything public, of the package and of its subpackages: dotted name → name where it is defined."""
    modules = [importlib.import_module(f"badge_jax.{name}".rstrip(".")) for name in PACKAGES]
    values = {
        f"{module.__name__}.{name}": getattr(module, name) for module in modules for name in module.__all__
    }
    return {
        name: f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
        for name, value in values.items()
    }


def names_in(inventory):
    """Names in an inventory of Sphinx's format 2, as mkdocstrings writes it."""
    compressed = inventory.split(b"\n", 4)[4]
    return {line.split(" ")[0] for line in zlib.decompress(compressed).decode("utf-8").splitlines()}


def undocumented(names, documented):
    """One line for every name that the reference lacks, under its public name and where it is defined."""
    wanted = "wanted a docstring, and a line of docs/reference that shows it"
    lacking = [name for name, home in names.items() if not {name, home} & documented]
    return [f"{name} is public and not in the reference; {wanted}" for name in lacking]


class _Page(HTMLParser):
    """The anchors, the links and what a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.fetched = set(), [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        elif tag == "link" and given.get("href") and given.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(given["href"])
        self.fetched += [given[name] for name in ("src", "srcset", "data") if given.get(name)]


_READ: dict[Path, _Page] = {}


def _read(path):
    if path not in _READ:
        _READ[path] = _Page(path.read_text("utf-8"))
    return _READ[path]


def faults_of(path, site):
    """One line for each dead link or anchor of a page, and for all that it would fetch from a network."""
    page, name, faults = _read(path), path.relative_to(site), []
    for address in page.fetched:
        if urlsplit(address).scheme in ("http", "https") or address.startswith("//"):
            faults.append(f"{name} fetches {address} from a network")
    for address in [*page.links, *page.fetched]:
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        folder = site if parts.path.startswith("/") else path.parent
        target = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file():
            faults.append(f"{name} leads to {address}, which is not there")
        elif parts.fragment and target.suffix == ".html":
            anchors = _read(target).anchors
            if unquote(parts.fragment) not in anchors and not parts.fragment.startswith("__"):
                faults.append(f"{name} leads to {address}, which has no such anchor")
    return faults
