"""The package: examples and documentation work, and all versions are equal."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gometa

ROOT = Path(__file__).resolve().parent.parent.parent
# The addresses in the documentation.
DOCUMENTED = "127.0.0.1:5003,127.0.0.1:6003,127.0.0.1:7003"


def test_there_is_one_version():
    manifest = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'\[workspace\.package\]\s+version = "([^"]+)"', manifest)[1]
    assert gometa.__version__ == version == importlib.metadata.version("gometa")
    assert importlib.metadata.requires("gometa") is None


def test_the_package_is_the_installed_one():
    assert ROOT not in Path(gometa.__file__).parents


def example(name, peers):
    ended = subprocess.run(
        [sys.executable, ROOT / "examples" / "python" / name, peers],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def test_the_tour(peers):
    said = example("tour.py", peers)
    # The number of keys depends on other tests.
    assert re.fullmatch(r"status: leading [1-9]\d* healthy", said.pop(10))
    assert said == [
        "set: version 1",
        "get: b'red'",
        "get: b'unknown'",
        "get: b'red'",
        "entry: b'red' 1 True",
        "add: the key exists, True",
        "cas: version 2",
        "cas: the key was changed, True",
        "deadline: True not_applied",
        "members: 3",
        "delete: True",
        "delete: False",
        'entry: get "tour/colour": there is no such key',
        "counters: 14",
    ]


def test_the_recipes(peers):
    assert example("recipes.py", peers) == ["recipes: ok"]


def test_the_tour_of_asyncio(peers):
    assert example("tour_aio.py", peers) == [
        "get: b'round'",
        "get: b'unknown'",
        "get: b'round'",
        "entry: b'round' 1 True",
        "add: the key exists, True",
        "cas: the key was changed, True",
        "gather: 100",
        "gather: b'42'",
        "cancelled",
        "deadline: True not_applied",
        "members: 3",
        "status: leading",
        "delete: True",
        "delete: False",
        "counters: 0",
    ]


@pytest.mark.parametrize("name", ["tour.py", "tour_aio.py"])
def test_the_tours_print_their_usage(name):
    ended = subprocess.run(
        [sys.executable, ROOT / "examples" / "python" / name], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1 and ended.stderr.startswith("usage: ")


@pytest.mark.parametrize("name", ["tour.py", "tour_aio.py"])
def test_the_tours_print_the_cause_of_a_failure(name):
    # Discard: reserved, and nothing listens there.
    for peers in ["127.0.0.1:9", "nonsense"]:
        ended = subprocess.run(
            [sys.executable, ROOT / "examples" / "python" / name, peers],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.returncode, ended.stdout) == (1, "")
        assert ended.stderr.startswith("tour: ") and len(ended.stderr.splitlines()) == 1, ended.stderr


PAGE = (ROOT / "docs" / "python.md").read_text()
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SAID = re.findall(r"^```text\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_each_snippet_of_the_documentation_runs(run, peers, number):
    snippet = SNIPPETS[number]
    first = peers.split(",")
    for documented, real in zip(DOCUMENTED.split(","), first):
        snippet = snippet.replace(documented, real)
    printed = run(snippet)
    # The output of a program follows it.
    following = PAGE.split(f"```python\n{SNIPPETS[number]}```", 1)[1]
    if following.startswith("\n\n```text\n"):
        assert printed == following.removeprefix("\n\n```text\n").split("```", 1)[0]


def test_the_documentation_has_snippets_and_mentions_everything():
    assert len(SNIPPETS) >= 8 and len(SAID) >= 2
    names = [name for name in vars(gometa.Client) if not name.startswith("_")]
    for name in [*names, "counters", "peers", "aio"]:
        assert re.search(rf"\b{name}\b", PAGE), f"docs/python.md does not mention {name}"
    for error in gometa.ERRORS.values():
        assert f"`{error.__name__}`" in PAGE, f"docs/python.md does not mention {error.__name__}"
    fields = "kind number retryable outcome leader actual_revision message operation key"
    for field in fields.split():
        assert f"`{field}`" in PAGE


def test_the_table_of_errors_in_the_documentation():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \| ([^|]*) \| (yes|no) \|", PAGE, re.MULTILINE)
    assert [(int(number), name, again) for number, name, _, again in rows] == [
        (number, error.__name__, "yes" if error.retryable else "no") for number, error in gometa.ERRORS.items()
    ]
    for number, _, builtin, _ in rows:
        bases = gometa.ERRORS[int(number)].__bases__[1:]
        assert builtin.strip().strip("`") == (bases[0].__name__ if bases else "")
