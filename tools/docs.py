"""Make the generated parts of the documentation again: ``make docs``.

`docs/reference/cli.md` is the help of every command. In other pages the lines between ``<!-- generated: NAME -->`` and
``<!-- end -->`` are: the proxy's metrics, and the kinds of the API. Tests compare the files with what this makes.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cyclopts import App

from fairway.apiserver.allocation import Ranges, ServiceAllocator
from fairway.apiserver.kinds import Kind, standard_kinds
from fairway.cli.main import app
from fairway.model.view import NodeSettings
from fairway.proxy.cache import Cache
from fairway.proxy.metrics import Metrics
from fairway.proxy.relayed import RelaySide
from fairway.proxy.usage import Sources, Usage
from fairway.runtime.clock import SystemClock

ROOT = Path(__file__).parent.parent
REFERENCE = ROOT / "docs" / "reference"
CLI = REFERENCE / "cli.md"
_GENERATED = re.compile(r"(<!-- generated: ([a-z]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_TAIL = """
## Exit codes

0: yes, it worked. 1: no, or it did not work. 2: the command line, or a file it names, makes no sense. See
[files, ports, environment](files-and-ports.md).
"""


def pages() -> Iterator[tuple[Path, str]]:
    """Every page with generated text, as it should be."""
    yield CLI, cli_page()
    parts = {"metrics": metrics_table, "kinds": kinds_table}
    for name in ("metrics.md", "api.md"):
        path = REFERENCE / name
        yield path, _GENERATED.sub(lambda found: f"{found[1]}{parts[found[2]]()}{found[3]}", path.read_text())


def cli_page() -> str:
    """The help of every command, in the order of the table of commands."""
    text = app.generate_docs(output_format="markdown", heading_level=1)
    text = text.replace("# fairway\n", "# Commands\n", 1).replace("```console", "```text")
    # A usage line of our own is taken for one without the command's name.
    text = re.sub(r"^fairway (\w+ \w+) \1\b", r"fairway \1", text, flags=re.MULTILINE)
    text = re.sub(r"^Example: (.*)$", r"Example: `\1`", text, flags=re.MULTILINE)
    return text.rstrip() + "\n" + _TAIL


def command_lines(of: App, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group of commands, as the words one types."""
    for name in of:
        if not name.startswith("-"):
            yield (*path, name)
            yield from command_lines(of[name], (*path, name))


def metrics_table() -> str:
    """One row for each metric of a proxy, with its labels."""
    cache = Cache(NodeSettings(name="node-1"))
    registry = Metrics(cache, SystemClock()).registry
    registry.register(Usage(cache, Sources(lambda: (), dict), 1, SystemClock()))
    registry.register(RelaySide("-"))
    rows = []
    for metric in registry.collect():
        name = f"{metric.name}_total" if metric.type == "counter" else metric.name
        if not name.endswith("_created"):
            rows.append((f"`{name}`", metric.type, metric.documentation.rstrip(".")))
    return _table(("metric", "type", "what it tells"), sorted(rows))


def kinds_table() -> str:
    """One row for each kind of the API."""
    allocator = ServiceAllocator(Ranges.parse("10.96.0.0/16", "30000-32767"), random.SystemRandom().randrange)
    rows = [_kind_row(kind) for kind in standard_kinds(allocator).rows]
    return _table(("kind", "group/version", "names", "subresources", "field selectors beside name and namespace"), rows)


def _kind_row(kind: Kind) -> tuple[str, ...]:
    resource = kind.resource
    names = ", ".join(f"`{name}`" for name in (resource.plural, *resource.short_names))
    selectable = ", ".join(f"`{path}`" for path in kind.selectable)
    return resource.kind, resource.api_version, names, ", ".join(kind.subresources), selectable


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def main() -> None:
    for path, text in pages():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
