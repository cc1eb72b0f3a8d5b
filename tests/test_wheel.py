"""What is released: built as a release is, installed where the repository is out of sight, and used there."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import st_reid

pytestmark = pytest.mark.wheel
ROOT = Path(__file__).parents[1]
PACKAGES = "st_reid", "legacy_ports"
VARIABLES = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
"""Without PYTHONPATH: where it names the repository, pip would find there what it is to install."""

GENERATED = shutil.ignore_patterns("__pycache__", "*.egg-info")


def run(*command, **options):
    command = list(map(str, command))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=VARIABLES, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def relative_files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the source, in which nothing lies about that an earlier build left."""
    copy = tmp_path_factory.mktemp("source")
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":  # which is a file in a second work tree
            shutil.copy(path, copy)
    for folder in (*PACKAGES, "configs", "tests", "requirements"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=GENERATED)
    return copy


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """The source distribution, and the wheel that was built from it."""
    output = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", output, source)
    (sdist,), (wheel,) = output.glob("*.tar.gz"), output.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def wheel_files(built):
    """The wheel's text files, by their paths."""
    with zipfile.ZipFile(built[1]) as wheel:
        return {name: wheel.read(name).decode() for name in wheel.namelist()}


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Return a runner of Python with the wheel installed, and what it needs, but not the repository.

    A line of a .pth file is a folder to import from, whose own .pth files do not count: an editable installation of the
    repository that lies there has no effect.
    """
    environment = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    paths = {"base": str(environment), "platbase": str(environment)}
    site_packages = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    needs = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site_packages / "needs.pth").write_text("\n".join(needs))
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", built[1])
    empty = tmp_path_factory.mktemp("empty")

    def run_python(*arguments):
        return run(python, *arguments, cwd=empty)

    return run_python


def test_the_wheel_holds_every_file_of_the_packages_and_the_recipes(source, wheel_files):
    expected = {f"{package}/{name}" for package in PACKAGES for name in relative_files(source / package)}
    recipes = {f"st_reid/recipes/{name}" for name in relative_files(source / "configs")}
    assert {name for name in wheel_files if ".dist-info/" not in name} == expected | recipes
    assert "st_reid/py.typed" in expected
    assert any(name.endswith(".html") for name in expected)
    assert len(recipes) > 10
    for name in recipes:
        assert wheel_files[name] == (ROOT / "configs" / name.removeprefix("st_reid/recipes/")).read_text()


def test_its_metadata(wheel_files):
    about = {name.partition(".dist-info/")[2]: text for name, text in wheel_files.items() if ".dist-info/" in name}
    metadata = Parser().parsestr(about["METADATA"])
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL"))
    assert {"Documentation", "Source", "Issues", "Changelog"} <= set(links)
    assert all(link.startswith("https://") for link in links.values())
    assert metadata["Version"] == st_reid.__version__
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert {"parquet", "index", "export"} <= set(metadata.get_all("Provides-Extra"))
    assert not [need for need in metadata.get_all("Requires-Dist") if "scikit-learn" in need and "extra" not in need]
    assert "st-reid = st_reid.__main__:main" in about["entry_points.txt"].splitlines()
    assert (ROOT / "LICENSE").read_text() in about.values()


def test_the_source_distribution_can_be_built_and_tested(built, source):
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for folder in (*PACKAGES, "configs", "tests", "requirements"):
        assert {f"{folder}/{name}" for name in relative_files(source / folder)} <= names
    assert {"setup.py", "setup.cfg", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "Makefile"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_package_works_from_an_empty_folder(installed):
    text = installed(
        "-c",
        "import json, os, sys, st_reid\n"
        "from importlib.metadata import version\n"
        "from st_reid.recipe_files import find_config\n"
        "names = 'psta_mars', 'comparison/hacnn_softmax'\n"
        "print(json.dumps({'path': [os.path.realpath(path) for path in sys.path], 'file': st_reid.__file__,\n"
        "                  'version': version('st_reid'), 'models': st_reid.list_models(),\n"
        "                  'recipes': [str(find_config(name)) for name in names]}))",
    )
    found = json.loads(text)
    assert str(ROOT) not in found["path"]
    package = Path(found["file"]).parent
    assert ROOT not in package.resolve().parents
    assert found["version"] == st_reid.__version__
    assert found["models"] == st_reid.list_models()
    assert [Path(file).relative_to(package).as_posix() for file in found["recipes"]] == [
        "recipes/psta_mars.yaml",
        "recipes/comparison/hacnn_softmax.yaml",
    ]


def test_a_command_line_works_from_an_empty_folder(installed):
    assert "--optim.lr" in installed("-m", "st_reid.train", "--help")
