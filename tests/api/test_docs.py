"""The documents are true: each fact stands in one of them, and links and names are right.

Endpoints and codes stand in the README, settings and operator commands in the operator's guide,
targets in the Makefile.
"""

import re
import subprocess
from functools import cache

import pytest
from click import Group
from flask_migrate.cli import db as migrate_group
from support.servers import ROOT

from gateway.errors import Code
from gateway.ops import cli
from gateway.settings import SETTINGS

DOCUMENTS = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
)
README, GUIDE = ROOT / "README.md", ROOT / "gateway" / "deploy" / "README.md"
MAX_README_BYTES = 9_000
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(document, heading):
    """Return the text under a heading, with the sections that are parts of it."""
    text = document.read_text()
    marks = re.search(rf"^(#+) {re.escape(heading)}\n", text, re.MULTILINE)[1]
    start = text.index(f"{marks} {heading}\n") + len(f"{marks} {heading}\n")
    end = re.search(rf"^#{{1,{len(marks)}}} ", FENCE.sub(blank, text)[start:], re.MULTILINE)
    return text[start : start + end.start()] if end else text[start:]


def blank(fence):
    """Return as much of nothing, as a comment in a shell block looks like a heading."""
    return re.sub(r"[^\n]", " ", fence[0])


def cells(text, column=0):
    """Return one column of every row of the tables in a text, without their heads."""
    rows = re.findall(r"^\| (.+) \|$", re.sub(r"^\|.+\n\|[-|]+\|$", "", text, flags=re.M), re.M)
    return [row.split(" | ")[column] for row in rows]


def blocks(text, language):
    return [body for kind, body in FENCE.findall(text) if kind == language]


# Facts


@pytest.mark.parametrize("database_uri", ["sqlite"], indirect=True)
def test_every_route(app):
    routes = {
        re.sub("<[a-z]+:", "<", f"{method} {rule.rule}")
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or {"ANY"}) - {"HEAD", "OPTIONS"}
    }
    documented = re.findall(r"`([A-Z]+ [^`]+)`", " ".join(cells(section(README, "Endpoints"))))
    assert sorted(documented) == sorted(routes)


def test_every_code_stands_with_its_http_status():
    text = section(README, "Replies and codes")
    statuses = {
        int(number): int(status)
        for status, codes in zip(cells(text), cells(text, 1), strict=True)
        for number in re.findall(r"\b\d+\b(?=[^:]*:)", codes)
    }
    assert statuses == {code.number: code.status for code in Code}


def test_every_setting():
    documented = re.findall(r"`(\w+)`", " ".join(cells(settings_table())))
    assert sorted(documented) == sorted(setting.name for setting in SETTINGS)


@pytest.mark.parametrize(
    "setting", [s for s in SETTINGS if isinstance(s.default, int)], ids=lambda s: s.name
)
def test_the_default_of_a_setting(setting):
    defaults = dict(zip(cells(settings_table()), cells(settings_table(), 1), strict=True))
    assert defaults[f"`{setting.name}`"] == str(int(setting.default))


def settings_table():
    return section(GUIDE, "Settings").partition("\n### ")[0]


def test_every_operator_command():
    documented = re.findall(
        r"`([a-z -]+[a-z])", " ".join(cells(section(GUIDE, "Operator commands")))
    )
    assert sorted(documented) == sorted(commands() | {"db upgrade", "db current"})


@cache
def commands():
    """Return the words of every operator command, but those of Flask-Migrate."""
    names = set()
    for command in cli.COMMANDS:
        if isinstance(command, Group):
            names |= {f"{command.name} {name}" for name in command.commands}
        else:
            names.add(command.name)
    return names


def test_every_target_has_its_line_in_make_help():
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    assert sorted(targets()) == sorted(phony)


def targets():
    return re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_no_fact_stands_in_two_documents():
    rows = [{cell for cell in cells(path.read_text()) if "`" in cell} for path in (README, GUIDE)]
    assert not rows[0] & rows[1]


# Names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_called_exists(document):
    text = document.read_text()
    known = commands() | {f"db {name}" for name in migrate_group.commands}
    calls = re.findall(r"(?:sudo -u gateway |bin/|`)gateway ([a-z][a-z-]*)(?: ([a-z-]+))?", text)
    assert [call for call in calls if not {call[0], " ".join(call)} & known] == []
    made = re.findall(r"(?:`|^ {4})make ([a-z-]+)", text, re.MULTILINE)
    assert [target for target in made if target not in targets()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = FENCE.sub(blank, document.read_text())
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match("[a-z]+:", link)]
    assert [link for link in links if not leads_somewhere(document, link)] == []


def leads_somewhere(document, link):
    file, _, anchor = link.partition("#")
    target = document.parent / file if file else document
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(document):
    """Return the anchors that GitHub gives a document's headings."""
    found = []
    text = FENCE.sub(blank, document.read_text())
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        anchor = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        repeated = found.count(anchor)
        found.append(f"{anchor}-{repeated}" if repeated else anchor)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_bash_understands_the_blocks(document):
    for block in blocks(document.read_text(), "bash"):
        check = subprocess.run(
            ["bash", "-n"], input=block, capture_output=True, text=True, check=False
        )
        assert (check.returncode, check.stderr) == (0, ""), block


# The README


def test_the_readme_is_short():
    assert len(README.read_bytes()) <= MAX_README_BYTES


def test_the_contents_have_every_section():
    text = FENCE.sub(blank, README.read_text())
    contents = text.partition("\n## ")[0]
    assert re.findall(r"\[(.+?)\]\(#", contents) == re.findall(r"^## (.+)$", text, re.MULTILINE)


def test_the_session_is_what_test_serve_pastes():
    """The first block is its own, a helper; one block is a code of as many digits as codes have."""
    everything = blocks(README.read_text(), "bash")
    assert everything == blocks(section(README, "A session"), "bash")
    helper, *steps = everything
    assert helper.startswith("API=http://127.0.0.1:8082/api/v1\n")
    (code,) = [step for step in steps if step.startswith("CODE=")]
    digits = {setting.name: setting.default for setting in SETTINGS}["REG_CODE_DIGITS"]
    assert re.fullmatch(rf"CODE=\d{{{digits}}}\n", code)
    assert f"Put its {digits} digits in place of {code.strip().removeprefix('CODE=')}" in (
        section(README, "A session")
    )


def tree():
    """Return the paths of "Where things are"."""
    (text,) = blocks(section(README, "Where things are"), "")
    paths, parents = [], {}
    for line in text.splitlines():
        name = line.split()[0]
        depth = len(line) - len(line.lstrip())
        parents = {d: parent for d, parent in parents.items() if d < depth}
        paths.append("".join(parents.values()) + name)
        parents[depth] = name
    return paths


@pytest.mark.parametrize("path", tree())
def test_a_path_of_the_tree_exists(path):
    assert (ROOT / path).is_dir() if path.endswith("/") else (ROOT / path).is_file()


def test_the_tree_has_every_folder_and_the_map_of_tests_too():
    assert {f"gateway/{path.parent.name}/" for path in ROOT.glob("gateway/*/__init__.py")} <= {
        *tree()
    }
    text = (ROOT / "tests" / "README.md").read_text()
    folders = {path.parent.name for path in ROOT.glob("tests/*/*.py")}
    assert sorted(set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE)) ^ folders) == []
