"""The documentation: every example runs, every option, file and name in it exists, every link leads somewhere."""

from __future__ import annotations

import ast
import json
import re
import shlex
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from small_data import COLORS, write_person
from torch import nn

import st_reid
from legacy_ports.psta import LegacyPSTA
from st_reid import cli, export, extract
from st_reid.__main__ import commands
from st_reid.data import clips
from st_reid.data.clips import SAMPLERS
from st_reid.data.datasets import dataset_names, read_dataset
from st_reid.data.datasets.base import DATASETS
from st_reid.models.base import MODELS

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = sorted(commands())
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    name = page.relative_to(ROOT).as_posix()
    return [Block(name, text[: found.start()].count("\n") + 1, found[1], found[2]) for found in FENCED.finditer(text)]


BLOCKS = [block for page in PAGES for block in blocks_of(page)]
LANGUAGES = {"python", "bash", "text"}


def test_every_block_says_what_it_is():
    assert {block.language for block in BLOCKS} == LANGUAGES
    assert sum(block.language == "python" for block in BLOCKS) > 15
    assert sum(block.language == "bash" for block in BLOCKS) > 25


# Commands


def commands_of(text: str) -> list[list[str]]:
    """Return the words of every line that starts a module, variables put in, backslashes at line ends joined."""
    for name, value in re.findall(r'^(\w+)=("[^"]*"|\S+)$', text, re.M):
        text = text.replace(f"${name}", value.strip('"').replace("\n", " "))
    lines = re.sub(r"\$\(.*?\)", "value", text.replace("\\\n", " ")).splitlines()
    words = [shlex.split(line, comments=True) for line in lines if " -m " in line]
    return [[word for word in line if not word.startswith("$")] for line in words]


def module_and_arguments(words: list[str]) -> tuple[str, list[str]]:
    place = words.index("-m")
    return words[place + 1], words[place + 2 :]


def config_class(command: str) -> Any:
    module = import_module(f"st_reid.{command}")
    return getattr(module, f"{command.capitalize()}Config")


def check_arguments(module: str, arguments: list[str]) -> None:
    """Parse arguments as the module does; nothing is run."""
    package, _, name = module.partition(".")
    if package == "benchmarks":
        own, _, passed_on = " ".join(arguments).partition(" -- ")
        options = benchmark_options(name)
        assert {word for word in own.split() if word.startswith("--")} <= options, module
        if passed_on:
            check_arguments("st_reid.train", passed_on.split())
        return
    assert name in COMMANDS, module
    if name == "run":
        return  # what follows is the script's
    if name in ("check", "report") and not arguments[0].startswith("-"):
        arguments = [f"--{'root' if name == 'check' else 'folder'}", *arguments]
    cli.parse(config_class(name), arguments, name)


def benchmark_options(name: str) -> set[str]:
    tree = ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = [a.value for c in calls if getattr(c.func, "attr", "") == "add_argument" for a in c.args]  # type: ignore[attr-defined]
    return {name for name in names if name.startswith("--")}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "bash"], ids=str)
def test_commands_have_these_options(block, monkeypatch):
    monkeypatch.chdir(ROOT)
    for words in commands_of(block.text):
        module, arguments = module_and_arguments(words)
        if module != "pytest":
            check_arguments(module, arguments)
    for target in re.findall(r"^make ([\w-]+)", block.text, re.M):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M), target
    for extra in re.findall(r"\.\[(\w+)\]", block.text):
        assert re.search(rf"^{extra} =$", (ROOT / "setup.cfg").read_text(), re.M), extra


# Commands and Python that are run

MODEL = {"name": "psta_osnet_x0_25", "num_classes": 3, "seq_len": 4, "height": 64, "width": 32, "dim": 16, "levels": 1}


class Toy(nn.Module):
    """A model that is exported in a moment."""

    uses_time, feature_dim = True, 4

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.linear(clips.mean(dim=(1, 3, 4)))


def write_video(folder: Path, name: str, tracks: str) -> None:
    """Write a video in which 8 persons are seen twice, 5 frames each time, and the boxes of the 16 tracks."""
    writer = cv2.VideoWriter(str(folder / f"{name}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (320, 96))
    rng = np.random.default_rng(0)
    colors = [tuple(int(c) for c in color) for color in rng.integers(0, 256, (8, 3))]
    lines = []
    for i in range(10):
        frame = rng.integers(50, 70, (96, 320, 3)).astype(np.uint8)
        for person, color in enumerate(colors):
            left = 40 * person + 8 + i % 3
            cv2.rectangle(frame, (left, 16), (left + 24, 80), color, -1)
            lines.append(f"{i + 1},{person + 1 + 8 * (i >= 5)},{left},16,24,64")
        writer.write(frame)
    writer.release()
    (folder / f"{tracks}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with all files that the examples name."""
    folder = tmp_path_factory.mktemp("workshop")
    torch.manual_seed(0)
    best = folder / "runs" / "psta-walkers-seed0" / "checkpoints" / "best.pth"
    best.parent.mkdir(parents=True)
    torch.save({"state_dict": st_reid.create_model(**MODEL).state_dict(), "model": MODEL}, best)
    (folder / "best.pth").write_bytes(best.read_bytes())
    weights = st_reid.create_model("osnet_x0_25", 5).state_dict()
    torch.save(weights, folder / "osnet_x0_25_market1501.pth")
    for name, tracks in (("video", "tracks"), ("gate", "gate"), ("yard", "yard"), ("street", "boxes")):
        write_video(folder, name, tracks)
    rows = [f"{track},{(track - 1) % 8}" for track in range(1, 17)]
    (folder / "identities.csv").write_text("\n".join(["track_id,person_id", *rows]) + "\n")
    write_person(folder / "photo.jpg", COLORS[0], seed=0)
    for camera in ("gate", "yard"):
        write_person(folder / "crops" / camera / "1" / "000.jpg", COLORS[0], seed=1)
    return folder


CPU = ["--device", "cpu", "--precision", "float32"]
SMALL = [*CPU, "--data.workers", "0", "--height", "64", "--width", "32"]
FASTER = {"extract": SMALL, "evaluate": SMALL, "search": CPU}


def run_commands(text: str) -> None:
    for words in commands_of(text):
        module, arguments = module_and_arguments(words)
        main = import_module(module).main
        main([*arguments, *FASTER.get(module.partition(".")[2], [])])


@pytest.mark.parametrize(
    ("page", "leaves"),
    [
        (
            "docs/own_cameras.md",
            ["out/decided/report.html", "out/persons.csv", "out/photo/search.csv", "out/crops.npz"],
        ),
        ("README.md", ["found/report.html"]),
    ],
)
def test_a_walk_through_runs_from_beginning_to_end(page, leaves, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    for block in blocks_of(ROOT / page):
        if block.language == "bash":
            run_commands(block.text)
    for name in leaves:
        assert (workshop / name).stat().st_size > 0


def test_a_first_evaluation_runs(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    (text,) = [b.text for b in BLOCKS if b.page.endswith("getting_started.md") and "st_reid.tracklets" in b.text]
    run_commands(text)
    assert (workshop / "runs" / "evaluate-osnet_x0_25-manifest" / "report.json").is_file()


def test_extracted_features_are_evaluated(workshop, dataset_folder, monkeypatch):
    monkeypatch.chdir(workshop)
    (text,) = [b.text for b in BLOCKS if b.page.endswith("evaluation.md") and "--features mars.npz" in b.text]
    run_commands(text.replace("--sources mars --root /data", f"--sources manifest --root {dataset_folder}"))
    (report,) = (workshop / "runs").glob("evaluate-psta_osnet_x0_25-*/report.json")
    assert "joint" in json.loads(report.read_text())


def stand_ins(block: Block) -> dict[str, Any]:
    """Return what an example takes for granted."""
    if "boxes_of_the_tracker" in block.text:
        return {"boxes_of_the_tracker": [(7, np.zeros((80, 30, 3), np.uint8))] * 5}
    if "@_sampler" in block.text:
        return {"_sampler": clips._sampler, "np": np}
    return {"dataclass": dataclass}


SMALLER = {
    "docs/torchreid.md": {
        '"/data"': "DATA",
        '"mars"': '"manifest"',
        '"st_reid_mars"': '"manifest"',
        "seq_len=8": "seq_len=4, height=64, width=32, workers=0",
        '"resnet50"': '"osnet_x0_25"',
        '"psta"': '"psta_osnet_x0_25"',
        'loss="triplet")': 'loss="triplet", pretrained=False)',
        "batch_size_train=32": "batch_size_train=8",
        "max_epoch=60": "max_epoch=1, ranks=[1, 5]",
    }
}
"""What is put in place of long runs and large data."""


def run_python(block: Block, **names: Any) -> dict[str, Any]:
    text = block.text
    for old, new in SMALLER.get(block.page, {}).items():
        text = text.replace(old, new)
    namespace = {"__name__": __name__, **stand_ins(block), **names}
    exec(compile("\n" * block.line + text, str(ROOT / block.page), "exec"), namespace)
    return namespace


@pytest.fixture
def registries(monkeypatch):
    """Forget afterwards what examples register."""
    dataset_names(), st_reid.list_models()  # ours are registered before theirs
    for registry in (SAMPLERS, DATASETS, MODELS):
        monkeypatch.setattr(registry, "_builders", dict(registry._builders))
        monkeypatch.setattr(registry, "_watchers", [])  # torchreid is not told


@pytest.fixture(scope="module")
def material(workshop, dataset_folder, tmp_path_factory):
    """A folder with what examples in Python read."""
    folder = tmp_path_factory.mktemp("material")
    for name in ("runs", "best.pth", "photo.jpg"):
        (folder / name).symlink_to(workshop / name)
    (folder / "data").mkdir()
    (folder / "data" / "street").symlink_to(dataset_folder)
    files = {"weights": workshop / "best.pth", "root": dataset_folder, "output": folder / "features.npz"}
    extract.main([*(str(word) for name, file in files.items() for word in (f"--{name}", file)), *SMALL])
    return folder


@pytest.fixture
def exported(material, registries):
    """Stand for a large model that was exported."""
    MODELS._builders["toy"] = lambda num_classes: Toy()
    made_of = {"name": "toy", "num_classes": 1, "seq_len": 2, "height": 32, "width": 16}
    torch.save({"model": made_of, "state_dict": Toy().state_dict()}, material / "toy.pth")
    export.main(["--weights", str(material / "toy.pth"), "--output", str(material / "psta.onnx"), "--runs", "1"])


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "python"], ids=str)
def test_python_runs(block, material, dataset_folder, registries, monkeypatch, request):
    monkeypatch.chdir(material)
    if "ExportedModel" in block.text:
        request.getfixturevalue("exported")
    if "psta_mars.pth" in block.text:
        state = LegacyPSTA(625).state_dict()
        monkeypatch.setattr(torch, "load", lambda path, weights_only: state)
    run_python(block, DATA=str(dataset_folder))


def example(page: str, part: str) -> Block:
    (block,) = [b for b in BLOCKS if b.page == page and b.language == "python" and part in b.text]
    return block


def test_what_is_added_as_explained_works(registries, tmp_path):
    run_python(example("CONTRIBUTING.md", "@_sampler"))
    assert SAMPLERS.get("middle")(10, 4, None).indices.tolist() == [[3, 4, 5, 6]]
    assert SAMPLERS.get("middle")(2, 4, None).indices.tolist() == [[0, 1, 1, 1]]

    run_python(example("CONTRIBUTING.md", "@DATASETS"))
    for camera in ("cam1", "cam2"):
        write_person(tmp_path / "lobby" / camera / "ann" / "1.jpg", COLORS[0], seed=0)
    dataset = read_dataset("lobby", tmp_path)
    assert [t.name for t in (*dataset.query, *dataset.gallery)] == ["cam1_ann", "cam2_ann"]

    run_python(example("docs/models.md", "@MODELS"))
    model = st_reid.create_model("mean_color", 5, dim=7)
    assert model(torch.rand(2, 4, 3, 8, 8)).shape == (2, 5)
    assert model.eval()(torch.rand(2, 4, 3, 8, 8)).shape == (2, model.feature_dim)

    config = run_python(example("CONTRIBUTING.md", "class OptimConfig"))["OptimConfig"]
    assert cli.parse(config, ["--momentum", "0.95"], "command").momentum == 0.95

    run_python(example("CONTRIBUTING.md", "tracklet_lengths"))["tracklet_lengths"]([3, 4, 4], tmp_path / "lengths.png")
    assert (tmp_path / "lengths.png").stat().st_size > 1000


# Names in the text

OTHERS_OPTIONS = {
    "--help",
    "--import",
    "--debug",
    "--config",
    "--standalone",
    "--nproc-per-node",
    "--node-rank",
    "--logdir",
}
INVENTED = {"--momentum", "--optim.momentum"}  # of an example
MADE = {"benchmarks/results/MACHINE/"}  # by commands


def inline_code(page: Path) -> list[str]:
    text = FENCED.sub("", page.read_text())
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def known_options() -> set[str]:
    known = OTHERS_OPTIONS | INVENTED
    for command in COMMANDS:
        if command == "run":
            continue
        for name, _ in cli._settings(config_class(command)):
            known |= {f"--{name}", f"--{name.rpartition('.')[2]}"}
    for path in (ROOT / "benchmarks").glob("*.py"):
        known |= benchmark_options(path.stem)
    return {name.replace("_", "-") for name in known}


@pytest.fixture(scope="module")
def options():
    return known_options()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_names_in_the_text_exist(page, options):
    for code in inline_code(page):
        for option in re.findall(r"(?:^|\s)(--\w[\w.-]*)", code):
            assert option.replace("_", "-") in options, f"{page.name}: option {option} in `{code}`"
        for command in re.findall(r"-m st_reid\.(\w+)", code):
            assert command in COMMANDS, f"{page.name}: `{code}`"
        if re.fullmatch(r"[\w/.-]+\.(py|yaml|cfg|toml)|[\w/]+/", code) and "/" in code.rstrip("/"):
            places = (ROOT, ROOT / "st_reid", ROOT / "tests")
            assert any((place / code).exists() for place in places) or code in MADE, f"{page.name}: no file {code}"
        if re.fullmatch(r"(st_reid|legacy_ports|benchmarks)(\.\w+)+", code) and not code.startswith("benchmarks"):
            find_object(code)


def test_recipes_name_options_that_exist(options):
    for path in (ROOT / "configs").rglob("*.yaml"):
        for option in re.findall(r"(?:^|[\s`])(--\w[\w.-]*)", path.read_text()):
            assert option.replace("_", "-") in options, f"{path.name}: {option}"


def find_object(name: str) -> Any:
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:i]))
        except ModuleNotFoundError:
            continue
        for part in parts[i:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def test_tables_are_complete():
    readme, datasets = (ROOT / "README.md").read_text(), (ROOT / "docs" / "datasets.md").read_text()
    assert not [name for name in (*SAMPLERS.names(), *COMMANDS) if f"`{name}`" not in readme]
    started = (ROOT / "docs" / "getting_started.md").read_text()
    assert not [name for name in COMMANDS if f"`python -m st_reid.{name}`" not in started]
    assert not [name for name in dataset_names() if f"| `{name}` |" not in datasets]


# Links


def anchors_of(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text()), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title.lower())).strip("-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_and_pictures_exist(page):
    text = FENCED.sub("", page.read_text())
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    for link in links:
        target, _, anchor = link.partition("#")
        if re.match(r"\w+://", target):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors_of(file), f"{page.name}: {link}"


def test_readme_is_short():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 100
    assert re.search(r"^    make test\b", readme, re.M)


def test_every_page_and_every_room_is_on_the_site():
    site = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES[1:]:
        assert f": {page.relative_to(ROOT / 'docs') if ROOT / 'docs' in page.parents else page.name}" in site
    rooms = {path.parent.name for path in (ROOT / "st_reid").glob("*/__init__.py")}
    assert {path.stem for path in (ROOT / "docs" / "api").glob("*.md")} == rooms | {"index"}
