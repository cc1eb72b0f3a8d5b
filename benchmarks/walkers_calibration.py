"""How hard is walkers? What colours, single frames, means of frames, times, and the true gait tell of the persons.

``python -m benchmarks.walkers_calibration`` prints a table and writes it as JSON with the machine and the versions;
``--picture FILE`` draws a contact sheet instead. No model here looks at the order of frames. The true gait is no model:
it is what was drawn, and an upper bound for what can be told by period, stride and arm swing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from benchmarks.machine import ScriptParser, environment, in_range, output_file, run_script, write
from st_reid.config import Count, PositiveInt, Seed
from st_reid.data.datasets._walkers import random
from st_reid.data.datasets._walkers.cameras import MARKS, SPREAD, TRANSIT, make_cameras
from st_reid.data.datasets._walkers.people import GAIT_RANGES, Person, make_people
from st_reid.data.datasets._walkers.scene import FINE, HEIGHT, draw_walk
from st_reid.data.datasets.walkers import SIZES, VERSION, Plan, Size, plans, read
from st_reid.data.tracklet import Dataset, Tracklet, person_labels
from st_reid.evaluation.baselines import color_histogram
from st_reid.retrieval import cosine_distance, evaluate_rank

CLIP = 8  # frames
GROUPS = ("all", "no look-alike", "look-alike, body", "look-alike, gait")
Figures = dict[str, float]


class SmallNet(nn.Module):
    """A residual network of three stages for single frames (B, 3, 64, 32) uint8."""

    def __init__(self, num_classes: int, widths: Sequence[int] = (48, 96, 192)) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 5, 2, 2, bias=False), nn.BatchNorm2d(widths[0]))
        before = (widths[0], *widths)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1, bias=False) for a, b in zip(before, widths, strict=False))
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(b, b, 3, 1, 1, bias=False),
                nn.BatchNorm2d(b),
                nn.ReLU(),
                nn.Conv2d(b, b, 3, 1, 1, bias=False),
                nn.BatchNorm2d(b),
            )
            for b in widths
        )
        self.neck = nn.BatchNorm1d(widths[-1])
        self.head = nn.Linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        x = F.relu(self.stem((x.float() - 116) / 58))
        for down, norm, block in zip(self.downs, self.norms, self.blocks, strict=True):
            x = F.relu(norm(down(x)))
            x = F.relu(x + block(x))
        feature = self.neck(x.mean(dim=(2, 3)))  # (B, D)
        return (self.head(feature), feature) if self.training else feature


def load(tracklet: Tracklet) -> np.ndarray:
    """Return the frames (T, H, W, 3) of a tracklet, RGB."""
    return np.stack([np.asarray(Image.open(path).convert("RGB")) for path in tracklet.paths])


def small(frames: np.ndarray) -> torch.Tensor:
    """Return frames (T, H, W, 3) at half their size as (T, 3, H / 2, W / 2)."""
    _, H, W, _ = frames.shape
    halves = [cv2.resize(frame, (W // 2, H // 2), interpolation=cv2.INTER_AREA) for frame in frames]
    return torch.from_numpy(np.stack(halves)).permute(0, 3, 1, 2).contiguous()


def train_single_frame(frames: list[torch.Tensor], labels: list[int], steps: int, seed: int) -> SmallNet:
    """Train on batches of 16 persons x 4 frames, with cross entropy and batch-hard triplet."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = SmallNet(max(labels) + 1)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.2)
    by_person = [np.flatnonzero(np.asarray(labels) == p) for p in range(max(labels) + 1)]
    for _ in range(steps):
        batch = []
        for p in (persons := rng.permutation(len(by_person))[:16]):
            batch += [augment(frames[t][rng.integers(len(frames[t]))], rng) for t in rng.choice(by_person[p], 4)]
        target = torch.from_numpy(np.repeat(persons, 4))
        logits, feature = net(torch.stack(batch))
        loss = F.cross_entropy(logits, target, label_smoothing=0.1) + hard_triplet(feature, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def augment(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Flip and shift an image (3, H, W)."""
    if rng.random() < 0.5:
        image = image.flip(2)
    return torch.roll(image, (int(rng.integers(-3, 4)), int(rng.integers(-2, 3))), (1, 2))


def hard_triplet(feature: torch.Tensor, target: torch.Tensor, margin: float = 0.3) -> torch.Tensor:
    """Return the batch-hard triplet loss of features (B, D) by Euclidean distance."""
    distance = (torch.cdist(feature, feature).square() + 1e-6).sqrt()
    same = target[:, None] == target
    hardest = distance.masked_fill(~same, 0).amax(1) - distance.masked_fill(same, 1e9).amin(1)
    return F.relu(hardest + margin).mean()


@torch.inference_mode()
def features(net: SmallNet, frames: torch.Tensor) -> np.ndarray:
    """Return the unit features (T, D) of the frames of a tracklet."""
    return F.normalize(net(frames)).numpy()


def measured_gait(plan: Plan, angle: float, seed: int, frames: int | None) -> np.ndarray:
    """Return period, stride and arm swing (3,) as the middle ``frames`` of a tracklet show them, all for ``None``.

    Each is a share of its range. The period is that of the tracklet, 3 % off the person's. Stride and arm swing are the
    largest angles that are reached in one of the frames, times the error of its box's size. Nothing else is wrong with
    them: neither the view, nor what is in the way, nor a handbag, if the other arm is free.
    """
    gait = plan.person.gait
    rng = random(seed, "tracklet", plan.index)
    walk = draw_walk(plan.person, angle, plan.passing.against, plan.frames, rng)
    first = 0 if frames is None else (plan.frames - frames) // 2
    seen = slice(first, plan.frames if frames is None else first + frames)
    phase, scale = walk.phase[seen], 1 + walk.shake[seen, 2]
    legs, arms = (np.abs(np.sin(phase - lag)) * scale for lag in (0.0, gait.arm_lag))
    values = 2 * np.pi / np.diff(walk.phase).mean(), gait.stride * legs.max(), gait.arm_swing * arms.max()
    ranges = np.array([GAIT_RANGES[0], GAIT_RANGES[1], GAIT_RANGES[3]])
    return (np.array(values) - ranges[:, 0]) / (ranges[:, 1] - ranges[:, 0])


def gait_distance(data: Dataset, seed: int, size: Size, frames: int | None) -> np.ndarray:
    """Return the Euclidean distance (Q, G) of what a clip in each tracklet shows of the gait."""
    angles = [camera.angle for camera in make_cameras(seed, HEIGHT * FINE)]
    plan_of = {plan.name: plan for plan in plans(seed, size)}
    found = [
        np.stack([measured_gait(p, angles[p.passing.camera], seed, frames) for p in (plan_of[t.name] for t in side)])
        for side in (data.query, data.gallery)
    ]
    return np.linalg.norm(found[0][:, None] - found[1], axis=2)


def time_distance(query: Sequence[Tracklet], gallery: Sequence[Tracklet]) -> np.ndarray:
    """Return by how much each time between query and gallery (Q, G) misses what the cameras' places make likely."""
    place = {f"c{i + 1}": mark * TRANSIT for i, mark in enumerate(MARKS)}
    time_q, time_g = (np.asarray([float(t.time or 0) for t in ts]) for ts in (query, gallery))
    place_q, place_g = (np.asarray([place[t.camera] for t in ts]) for ts in (query, gallery))
    between = np.abs(place_q[:, None] - place_g)
    return np.abs(np.abs(time_q[:, None] - time_g) - between) / SPREAD


def judge(distance: np.ndarray, data: Dataset, people: dict[str, Person]) -> Figures:
    """Return mAP, and rank-1 of all queries and of each group of them."""
    query, gallery = data.query, data.gallery

    def labels(tracklets: Sequence[Tracklet]) -> tuple[list[str], list[str]]:
        return [t.person for t in tracklets], [t.camera for t in tracklets]

    (q_pids, q_cams), (g_pids, g_cams) = labels(query), labels(gallery)
    result = evaluate_rank(distance, q_pids, g_pids, q_cams, g_cams)
    kind = np.asarray([people[p].twin_kind for p in q_pids])
    hit = result.first_rank == 1
    masks = (np.ones(len(kind), bool), kind == "", kind == "body", kind == "gait")
    return {"mAP": result.mAP} | {g: float(hit[m].mean()) for g, m in zip(GROUPS, masks, strict=True)}


def people_of(seed: int, size: Size) -> dict[str, Person]:
    """Return all persons by name."""
    return {p.name: p for p in make_people(seed, size.train, size.test, size.distractors)}


def calibrate(root: Path | None, seed: int, clothes: str, steps: int) -> dict[str, Figures]:
    """Measure every baseline on the walkers of a seed."""
    data, size = read(root, seed=seed, clothes=clothes), SIZES[clothes]
    people = people_of(seed, size)
    table: dict[str, Figures] = {}
    query, gallery = [load(t) for t in data.query], [load(t) for t in data.gallery]

    def row(name: str, queries: list[np.ndarray], items: list[np.ndarray]) -> None:
        table[name] = judge(cosine_distance(np.stack(queries), np.stack(items)), data, people)

    def middle(frames: np.ndarray) -> np.ndarray:
        return frames[len(frames) // 2 :][:1]

    row("colour histogram, one frame", *([color_histogram(middle(f)) for f in s] for s in (query, gallery)))
    row("colour histogram, all frames", *([color_histogram(f) for f in s] for s in (query, gallery)))
    label = person_labels(data.train)
    frames = [small(load(t)) for t in data.train]
    net = train_single_frame(frames, [label[t.person] for t in data.train], steps, seed)
    found = [[features(net, small(f)) for f in s] for s in (query, gallery)]
    row("single-frame network, one frame", *([middle(f)[0] for f in s] for s in found))
    row("single-frame network, mean of all frames", *([f.mean(axis=0) for f in s] for s in found))
    table["times alone"] = judge(time_distance(data.query, data.gallery), data, people)
    for name, length in ((f"true gait, clip of {CLIP} frames", CLIP), ("true gait, all frames", None)):
        table[name] = judge(gait_distance(data, seed, size, length), data, people)
    return table


def picture(root: Path | None, seed: int, clothes: str, file: Path) -> None:
    """Draw the contact sheet: two persons of each group, three tracklets each, four frames of a tracklet."""
    data = read(root, seed=seed, clothes=clothes)
    people = people_of(seed, SIZES[clothes])
    by_person: dict[str, list[Tracklet]] = {}
    for t in data.gallery:
        by_person.setdefault(t.person, []).append(t)
    test = [p for p in people.values() if p.split == "test"]
    shown = [p for p in test if p.twin_kind == "body"][2:4] + [p for p in test if p.twin_kind == "gait"][2:4]
    shown += [p for p in test if not p.twin_kind][:2]
    colors = {"body": (40, 90, 230), "gait": (40, 160, 40), "": (150, 150, 150)}
    titles = {
        "body": "look-alikes: body, bag, gait differ",
        "gait": "look-alikes: gait alone differs",
        "": "no look-alike",
    }
    rows = []
    for i, person in enumerate(shown):
        strips = []
        cameras = {t.camera: t for t in by_person[person.name]}
        for t in list(cameras.values())[:3]:
            strips.append(np.concatenate(list(load(t)[(0, 3, 6, 9), ...]), axis=1)[..., ::-1])
            cv2.putText(
                strip := np.ascontiguousarray(strips[-1]), t.camera, (3, 12), 0, 0.4, (255, 255, 255), 1, cv2.LINE_AA
            )
            strips[-1] = np.pad(strip, ((2, 2), (0, 6), (0, 0)), constant_values=255)
        row = np.concatenate(strips, axis=1)
        row = np.pad(row, ((0, 0), (46, 0), (0, 0)), constant_values=255)
        row[:, :6] = colors[person.twin_kind]
        cv2.putText(row, person.name, (9, 70), 0, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        if i % 2 == 0:
            title = np.full((20, row.shape[1], 3), 255, np.uint8)
            cv2.putText(title, titles[person.twin_kind], (4, 15), 0, 0.45, colors[person.twin_kind], 1, cv2.LINE_AA)
            rows.append(title)
        rows.append(row)
    file.parent.mkdir(parents=True, exist_ok=True)
    sheet = np.concatenate(rows)
    Image.fromarray(np.ascontiguousarray(sheet[..., ::-1])).quantize(256).save(file, optimize=True)


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--root", type=Path, help="where the dataset is or is to be; left out: the cache folder")
    parser.add_argument("--clothes", choices=SIZES, default="kept", help="which of the two datasets (kept)")
    parser.add_argument(
        "--seeds", type=in_range(Seed), nargs="+", default=[0], help="of the dataset and the network (0)"
    )
    parser.add_argument("--steps", type=in_range(PositiveInt), default=600, help="of the network's training (600)")
    parser.add_argument(
        "--threads", type=in_range(Count), default=1, help="of torch; more can be slower for so small a net (1)"
    )
    parser.add_argument("--output", type=output_file, default=Path("walkers_calibration.json"), help="JSON file")
    parser.add_argument("--picture", type=Path, help="draw the contact sheet of the first seed here, measure nothing")
    args = parser.parse_args()
    if args.picture:
        return picture(args.root, args.seeds[0], args.clothes, args.picture)
    torch.set_num_threads(args.threads)
    machine = environment("walkers_calibration")
    begin = time.perf_counter()
    tables = {seed: calibrate(args.root, seed, args.clothes, args.steps) for seed in args.seeds}
    mean = {
        n: {k: float(np.mean([t[n][k] for t in tables.values()])) for k in row}
        for n, row in tables[args.seeds[0]].items()
    }
    for title in ("", "mAP", *GROUPS):
        print(f"{title:>18}" if title else f"{'rank-1 by group':42}", end="")
    print()
    for name, row in mean.items():
        print(f"{name:42}" + "".join(f"{100 * row[k]:18.1f}" for k in ("mAP", *GROUPS)))
    report = {
        "version": VERSION,
        "clothes": args.clothes,
        "steps": args.steps,
        "seconds": round(time.perf_counter() - begin, 1),
        "mean": mean,
        "seeds": tables,
        "environment": machine,
    }
    write(args.output, report)
    return None


if __name__ == "__main__":
    run_script(main)
