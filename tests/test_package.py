"""What an installation says about itself, and what setup.cfg says about what it needs."""

from configparser import ConfigParser
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import st_reid

ROOT = Path(__file__).parents[1]


def requirements(text):
    """Yield the name and the only version of each requirement that has one."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            for specifier in requirement.specifier:
                yield canonicalize_name(requirement.name), (specifier.operator, Version(specifier.version))


def test_the_version_is_told_once():
    assert version("st_reid") == st_reid.__version__


def test_the_lowest_versions_are_those_that_are_tried():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed = setup["options"]["install_requires"], setup["options.extras_require"]["test"]
    bounds = {name: bound for text in needed for name, bound in requirements(text)}
    tried = dict(requirements((ROOT / "requirements/lowest.txt").read_text()))
    assert {name: (">=", lowest) for name, (_, lowest) in tried.items()} == bounds
    assert {operator for operator, _ in tried.values()} == {"=="}
