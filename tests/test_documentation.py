"""What the documentation points to is there: files, tests, commands, and what a field means."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from generator.config_fields import Documented, read_groups  # noqa: E402

PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "jobs/**/*.md")
    for page in ROOT.glob(pattern)
)
DESIGN = sorted((ROOT / "docs" / "design").glob("*.md"))
MARKDOWN = MarkdownIt("commonmark").enable("table")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@cache
def paragraphs(page: Path) -> list[list[Token]]:
    """The content of each paragraph, cell and heading; what is in code blocks is left out."""
    tokens = MARKDOWN.parse(page.read_text())
    return [token.children or [] for token in tokens if token.type == "inline"]


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Text and target of links and pictures that lead to a file."""
    for tokens in paragraphs(page):
        for number, token in enumerate(tokens):
            target = str(token.attrs.get("href") or token.attrs.get("src") or "")
            if target and not re.match(r"[a-z]+:|#", target):
                yield tokens[number + 1].content if token.type == "link_open" else "", target


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    )


@cache
def names_of_tests() -> frozenset[str]:
    """Of files and of functions."""
    files = list(ROOT.glob("tests/**/*.py"))
    return frozenset(path.name for path in files).union(*map(functions, files))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_every_test_is_in_it(page: Path) -> None:
    for text, target in links(page):
        path, _, anchor = target.partition("#")
        there = page.parent / path
        assert there.exists(), f"{name(page)}: {target} is not there"
        if there.suffix == ".py" and anchor:
            assert anchor in functions(there), f"{name(page)}: {path} has no {anchor}"
            assert text == anchor, f"{name(page)}: {text} leads to {anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_link_lacks_its_target(page: Path) -> None:
    """`[`name`]` without a line that says where it leads is printed with its brackets."""
    for tokens in paragraphs(page):
        for before, code, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if code.type == "code_inline":
                is_open = before.content.endswith("[") and after.content.startswith("]")
                assert not is_open, f"{name(page)}: where does {code.content} lead?"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_test_that_is_named_exists(page: Path) -> None:
    code = (token for tokens in paragraphs(page) for token in tokens if token.type == "code_inline")
    for token in code:
        for named in re.findall(r"\btest_\w+(?:\.py)?", token.content):
            assert named in names_of_tests(), f"{name(page)}: there is no {named}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_code_ends_on_a_line_of_its_own(page: Path) -> None:
    for token in MARKDOWN.parse(page.read_text()):
        if token.type == "fence":
            assert token.markup not in token.content, f"{name(page)}: {token.content}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_row_of_a_table_is_in_one(page: Path) -> None:
    """Without its head a table is printed as a paragraph full of bars."""
    for token in MARKDOWN.parse(page.read_text()):
        if token.type == "inline":
            assert not token.content.startswith("|"), f"{name(page)}: {token.content[:200]}"


def guarantees(page: Path) -> dict[str, set[str]]:
    """The guarantees of a page by what they begin with, and the tests that each names."""
    text = page.read_text()
    _, section = re.split(r"^## Guarantees\n", text, flags=re.MULTILINE)
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    targets = dict(re.findall(r"^\[`(.+)`\]: (.+)$", text, re.M))
    return {
        re.match(r"\*\*(G\d+|[^*]+)", bullet)[1]: {
            targets[label] for label in re.findall(r"\[`(.+?)`\]", bullet) if "test_" in label
        }
        for bullet in re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    }


@pytest.mark.parametrize("page", DESIGN, ids=name)
def test_every_guarantee_names_a_test(page: Path) -> None:
    lacking = [guarantee for guarantee, tests in guarantees(page).items() if not tests]
    assert not lacking


def test_the_numbered_guarantees_are_all_there() -> None:
    numbers = [
        int(guarantee[1:])
        for page in DESIGN
        for guarantee in guarantees(page)
        if re.fullmatch(r"G\d+", guarantee)
    ]
    assert sorted(numbers) == list(range(1, 16))


def test_every_command_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "reference" / "commands.md").read_text()
    modules = [*ROOT.glob("pipeline/*.py"), *ROOT.glob("pipeline/*/__main__.py")]
    commands = {
        module.parent.name if module.stem == "__main__" else module.stem
        for module in modules
        if 'if __name__ == "__main__"' in module.read_text()
    }
    documented = set(re.findall(r"^\| `(\w+)` \|", reference, re.M))
    documented |= set(re.findall(r"^```\{options\} pipeline\.(\w+)$", reference, re.M))
    assert documented == commands


@pytest.fixture(scope="module")
def fields() -> dict[str, Documented]:
    return {field.path: field for group in read_groups() for field in group.fields}


def test_every_field_says_what_it_is(fields: dict[str, Documented]) -> None:
    assert not [path for path, field in fields.items() if not field.text]


def test_bounds_are_those_of_the_errors(fields: dict[str, Documented]) -> None:
    assert fields["train.batch_size"].bound == "must be at least 1"
    assert fields["search.asha_reduction"].bound == "must be at least 2"
    assert fields["train.learning_rate"].bound == "must be above 0 and finite"
    assert fields["model.recurrent_dropout"].bound.startswith("must be in [0, 1)")
    assert fields["ingest.fractions"].bound.startswith("must be three shares")
    assert fields["name"].bound.startswith("use at most 100 letters")
    assert not fields["train.seed"].bound


def test_choices_and_defaults_are_those_of_the_dataclass(fields: dict[str, Documented]) -> None:
    assert list(fields["train.precision"].choices) == ["fp32", "bf16", "fp16"]
    assert list(fields["inspect.split"].choices) == ["train", "valid", "test"]
    assert fields["train.precision"].default == "fp32"
    assert fields["inspect.row"].kind == "int or null"
    assert fields["data_dir"].default == "data/${source.name}"
    assert fields["categories"].default == ""
