"""Every verb and option is documented, and nothing is documented that does not exist."""

import re
from pathlib import Path

import click
import pytest

from foretail.cli.main import cli

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
SHARED = {"Table options", "Model options"}


def sections():
    """Heading -> its text, up to the next heading."""
    parts = re.split(r"^#{2,3} (.+)$", PAGE, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def commands(group, path=("foretail",)):
    """Every command with its full name, groups included."""
    context = click.Context(group)
    yield " ".join(path), group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(cli))
SECTIONS = sections()


def options_in(text):
    """The options in the first column of the tables."""
    cells = re.findall(r"^\| (`-.+?) \|", text, flags=re.M)
    return {option for cell in cells for option in re.findall(r"`(--[\w-]+)`", cell)}


def documented(name):
    text = SECTIONS[name]
    linked = [title for title in SHARED if f"(#{title.lower().replace(' ', '-')})" in text]
    return set().union(options_in(text), *(options_in(SECTIONS[title]) for title in linked))


def options_of(command):
    found = {option for item in command.params if isinstance(item, click.Option) for option in item.opts}
    return {option for option in found if option.startswith("--")}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_and_no_other(name):
    assert documented(name) - {"--help"} == options_of(COMMANDS[name])


def test_no_section_is_about_a_verb_that_does_not_exist():
    assert {title for title in SECTIONS if title.startswith("foretail")} == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_named(name):
    for item in COMMANDS[name].params:
        if isinstance(item, click.Argument):
            shown = item.make_metavar(click.Context(COMMANDS[name])).strip("[].")
            assert f"`{shown}`" in PAGE


@pytest.mark.parametrize("name", COMMANDS)
def test_every_verb_and_option_has_help(name):
    command = COMMANDS[name]
    assert command.help
    assert all(item.help for item in command.params if isinstance(item, click.Option))


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 130])
def test_exit_codes_are_documented(code):
    assert re.search(rf"^\| {code} \|", PAGE, flags=re.M)


def pages():
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))
    missing = [item for item in targets if "://" not in item and not (page.parent / item).exists()]
    assert missing == []


def test_the_readme_is_short_and_names_every_verb():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < 150
    for name in (name for name in COMMANDS if name.count(" ") == 1):
        assert f"`{name}`" in text


def test_every_verb_has_a_help_of_its_own():
    texts = [command.help for command in COMMANDS.values()]
    assert all(texts)
    assert len(set(texts)) == len(texts)
