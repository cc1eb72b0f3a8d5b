"""Two processes against one that has all their clips, with gloo on the CPU."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta

import numpy as np
import pytest
import torch
from processes import TIME_LIMIT, evaluate_command, run, start_several, train_command
from small_runs import SMALLEST_RUN, to_argv
from torch import nn

from st_reid import cli
from st_reid.config import ReadConfig
from st_reid.data.clip_spec import ClipSpec
from st_reid.data.datasets import read_dataset
from st_reid.errors import UserError
from st_reid.features.extraction import extract_features
from st_reid.files import locked
from st_reid.models.factory import create_model
from st_reid.models.layers.stam import FramewiseBatchNorm2d
from st_reid.runtime import distributed
from st_reid.runtime.compute import Compute
from st_reid.runtime.distributed import World
from st_reid.training.learner import synchronize_batchnorm
from st_reid.training.losses import ClipLoss

STEPS = 20
SETTINGS = SMALLEST_RUN | {
    "epochs": STEPS,
    "validate-every": STEPS,
    "data.persons": 4,
    "data.batches": 1,
    "optim.freeze_batchnorm": "true",
}


def arguments(root, output, **changes):
    return to_argv(SETTINGS | {"root": root, "output": output} | changes)


def finish(processes, log):
    """Return the exit statuses and the logs; a process that hangs has said in its log where."""
    for process in processes:
        process.join(TIME_LIMIT)
    logs = [log.with_suffix(f".{rank}").read_text() for rank in range(len(processes))]
    codes = [process.exitcode for process in processes]
    assert None not in codes, f"still running\n{logs}"
    return codes, logs


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def one_and_two(dataset_folder, tmp_path_factory):
    """The folders of a run of one process and of the same with two. Read only."""
    folder = tmp_path_factory.mktemp("ddp")
    assert run(train_command, arguments(dataset_folder, folder / "one"), log=folder / "log") == 0
    processes = start_several(train_command, arguments(dataset_folder, folder / "two"), log=folder / "log")
    codes, logs = finish(processes, folder / "log")
    assert codes == [0, 0], logs
    said = [line for line in logs[1].splitlines() if not line.startswith("[Gloo]")]  # PyTorch 2.8's own word
    assert not said, "only the first process speaks"
    return folder / "one", folder / "two"


def test_two_processes_learn_as_one(one_and_two):
    one, two = map(losses, one_and_two)
    assert len(one) == STEPS
    assert one[-1] < one[0]
    np.testing.assert_allclose(two, one, atol=1e-4)


def test_two_processes_evaluate_as_one(one_and_two, dataset_folder, tmp_path):
    weights = one_and_two[0] / "checkpoints" / "best.safetensors"
    argv = ["--weights", weights, "--sources", "manifest", "--root", dataset_folder, "--device", "cpu"]
    argv += ["--precision", "float32", "--data.workers", "0"]
    assert run(evaluate_command, [*argv, "--output", tmp_path / "one"], log=tmp_path / "log") == 0
    processes = start_several(evaluate_command, [*argv, "--output", tmp_path / "two"], log=tmp_path / "log")
    codes, logs = finish(processes, tmp_path / "log")
    assert codes == [0, 0], logs
    reports = [json.loads((tmp_path / n / "report.json").read_text()) for n in ("one", "two")]
    for ranking in ("appearance", "camera_mask", "joint"):
        for key in ("rank1", "mAP", "mINP"):
            assert reports[1][ranking][key] == pytest.approx(reports[0][ranking][key], abs=1e-6)


def _extract(root, output, sampler):
    compute = Compute.choose("cpu", "float32")
    torch.manual_seed(0)
    model = create_model("osnet_x0_25", 3, height=64, width=32)
    if compute.world.rank == 1:  # the first one's statistics count
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.fill_(9)
    spec = ClipSpec(64, 32, 2, sampler=sampler, batch=3)
    model.uses_time = True
    tracklets = read_dataset("manifest", root).gallery[:5]
    features = extract_features(model, tracklets, spec, ReadConfig(workers=0), compute)
    assert features.tracklet.tolist() == [t.name for t in tracklets]
    np.save(f"{output}.{compute.world.rank}.npy", features.features)


@pytest.mark.parametrize("sampler", ["all", "restricted_random"])
def test_shared_features_come_back_in_order(sampler, dataset_folder, tmp_path):
    assert run(_extract, dataset_folder, tmp_path / "one", sampler, log=tmp_path / "log") == 0
    codes, logs = finish(
        start_several(_extract, dataset_folder, tmp_path / "two", sampler, log=tmp_path / "log"), tmp_path / "log"
    )
    assert codes == [0, 0], logs
    one = np.load(tmp_path / "one.0.npy")
    for rank in (0, 1):
        np.testing.assert_allclose(np.load(tmp_path / f"two.{rank}.npy"), one, atol=1e-6)


def _gather(output):
    world = World.join(torch.device("cpu"))
    rows, labels = _rows_and_labels()
    own = rows[world.rank :: world.size].clone().requires_grad_()
    logits = own @ torch.ones(own.shape[1], 4)
    loss = ClipLoss(gather=world.gather)
    parts = loss((logits, own), labels[world.rank :: world.size])
    parts["triplet"].backward()
    torch.save({"gradient": own.grad / world.size, "loss": parts["triplet"].detach()}, f"{output}.{world.rank}")


def _rows_and_labels():
    return torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4


def test_triplets_are_mined_in_the_whole_batch_and_their_gradient_comes_back(tmp_path):
    codes, logs = finish(start_several(_gather, tmp_path / "out", log=tmp_path / "log"), tmp_path / "log")
    assert codes == [0, 0], logs
    rows, labels = _rows_and_labels()
    rows.requires_grad_()
    expected = ClipLoss()((rows @ torch.ones(5, 4), rows), labels)["triplet"]
    expected.backward()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"out.{rank}", weights_only=True)
        torch.testing.assert_close(found["loss"], expected.detach())
        torch.testing.assert_close(found["gradient"], rows.grad[rank::2])


def _normalise(output):
    world = World.join(torch.device("cpu"))
    layer = _layer()
    if world.size > 1:
        synchronize_batchnorm(nn.Sequential(layer), world)
    x = torch.randn(4, 2, 3, 2, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = x[world.rank :: world.size].clone().requires_grad_()
    y = layer(own)
    (y * torch.arange(y[0].numel()).view_as(y[0])).square().sum().backward()
    torch.save({"y": y.detach(), "gradient": own.grad, **layer.state_dict()}, f"{output}.{world.rank}")


def _layer():
    torch.manual_seed(0)
    layer = FramewiseBatchNorm2d(3).double()
    nn.init.normal_(layer.weight)
    return layer


def test_framewise_batch_norm_over_all_processes(tmp_path):
    assert run(_normalise, tmp_path / "one", log=tmp_path / "log") == 0
    codes, logs = finish(start_several(_normalise, tmp_path / "two", log=tmp_path / "log"), tmp_path / "log")
    assert codes == [0, 0], logs
    whole = torch.load(tmp_path / "one.0", weights_only=True)
    for rank in (0, 1):
        part = torch.load(tmp_path / f"two.{rank}", weights_only=True)
        for key in ("y", "gradient"):
            torch.testing.assert_close(part[key], whole[key][rank::2], rtol=1e-5, atol=1e-4, msg=key)
        for key in ("running_mean", "running_var", "num_batches_tracked"):
            torch.testing.assert_close(part[key], whole[key], rtol=1e-5, atol=1e-6)


def test_a_process_that_dies_ends_the_others(dataset_folder, tmp_path):
    processes = start_several(
        train_command, arguments(dataset_folder, tmp_path / "run", baselines="false"), log=tmp_path / "log"
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists() and all(p.is_alive() for p in processes):
        time.sleep(0.01)
    processes[1].kill()
    codes, logs = finish(processes, tmp_path / "log")
    assert codes == [2, -signal.SIGKILL], logs
    assert "another process" in logs[0].splitlines()[-1], logs[0]


def _last_of_three_ends(how):
    def command(_):
        with distributed.together():
            world = World.join(torch.device("cpu"))
            if world.rank == 2 and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if world.rank == 2 and how == "error":
                raise UserError("no such thing")
            if world.is_main:
                time.sleep(2)  # it works alone, and the others wait for it
            world.barrier()

    cli.run(command, "last")


@pytest.mark.parametrize(
    ("how", "expected"), [("killed", [2, 2, -signal.SIGKILL]), ("error", [2, 2, 2]), ("done", [0, 0, 0])]
)
def test_a_process_that_ends_while_the_others_wait(how, expected, tmp_path):
    codes, logs = finish(start_several(_last_of_three_ends, how, log=tmp_path / "log", count=3), tmp_path / "log")
    assert codes == expected, logs
    for log in logs[:2]:
        assert ("another process of this run ended" in log) == (how != "done")


MACHINES = """
set -e
for n in 1 2; do ip netns add st_reid_$n; done
ip link add st_reid_1 netns st_reid_1 type veth peer name st_reid_2 netns st_reid_2
for n in 1 2; do
    ip -n st_reid_$n addr add 10.77.0.$n/24 dev st_reid_$n
    ip -n st_reid_$n link set lo up
    ip -n st_reid_$n link set st_reid_$n up
done
"""
PEER = """
import sys, time, torch
from datetime import timedelta
from st_reid import cli
from st_reid.runtime import distributed
distributed.TIMEOUT = timedelta(seconds=20)
def exchange(_):
    with distributed.together():
        world = distributed.World.join(torch.device("cpu"))
        while True:
            world.barrier()
            print("met", file=sys.stderr, flush=True)
            time.sleep(0.1)
            world.any(False)
cli.run(exchange, "peer")
"""


@pytest.fixture
def two_machines():
    """Two network namespaces, which stand for two machines with a cable between them."""

    def remove():
        for number in (1, 2):
            subprocess.run(["ip", "netns", "del", f"st_reid_{number}"], capture_output=True)

    if shutil.which("ip") is None or subprocess.run(["sh", "-c", MACHINES], capture_output=True).returncode:
        remove()
        pytest.skip("network namespaces are not permitted here")
    yield
    remove()


@pytest.mark.slow
@pytest.mark.parametrize(("what", "seconds"), [("first killed", 15), ("second killed", 15), ("cable pulled", 60)])
def test_another_machine_that_is_gone_is_noticed(what, seconds, two_machines):
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "10.77.0.1", "MASTER_PORT": "29577", "LOCAL_RANK": "0"}
    both = [
        subprocess.Popen(
            ["ip", "netns", "exec", f"st_reid_{rank + 1}", sys.executable, "-c", PEER],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **common, "RANK": str(rank), "GLOO_SOCKET_IFNAME": f"st_reid_{rank + 1}"},
        )
        for rank in (0, 1)
    ]
    try:
        for process in both:
            while "met" not in process.stderr.readline():
                assert process.poll() is None
        if what == "cable pulled":
            subprocess.run(["ip", "-n", "st_reid_2", "link", "set", "st_reid_2", "down"], check=True)
        else:
            both["second" in what].kill()
        left = both[what == "first killed"]
        _, errors = left.communicate(timeout=seconds)
        assert "another process of this run ended" in errors
    finally:
        for process in both:
            process.kill()
            process.communicate()


def _several_runs():
    for number in range(3):
        with distributed.together():
            world = World.join(torch.device("cpu"))
            assert world.mean({"x": float(number + world.rank)}) == {"x": number + 0.5}


def test_several_runs_in_the_same_processes(tmp_path):
    codes, logs = finish(start_several(_several_runs, log=tmp_path / "log"), tmp_path / "log")
    assert codes == [0, 0], logs


def _meet():
    distributed.MEETING = timedelta(seconds=2)
    cli.run(lambda _: World.join(torch.device("cpu")), "meet")


def test_a_process_that_never_comes_is_not_waited_for_in_silence(tmp_path):
    processes = start_several(_meet, log=tmp_path / "log", ranks=[0])
    codes, logs = finish(processes, tmp_path / "log")
    assert codes == [2]
    assert "meet: error: the 2 processes could not meet at 127.0.0.1:" in logs[0].splitlines()[-1]
    assert "1/2 clients joined" in logs[0]


def test_persons_that_the_processes_cannot_share(dataset_folder, tmp_path):
    argv = arguments(dataset_folder, tmp_path / "run", **{"data.persons": 3})
    codes, logs = finish(start_several(train_command, argv, log=tmp_path / "log"), tmp_path / "log")
    assert codes == [2, 2]
    assert "2 processes share 3 persons a batch; make it a multiple of 2" in logs[0]
    assert not (tmp_path / "run").exists()


def test_an_output_that_another_writes_is_refused_by_all(dataset_folder, tmp_path):
    with locked(tmp_path / "run"):
        argv = arguments(dataset_folder, tmp_path / "run")
        codes, logs = finish(start_several(train_command, argv, log=tmp_path / "log"), tmp_path / "log")
    assert codes == [2, 2]
    assert f"run is being written by process {os.getpid()} on " in logs[0].splitlines()[-1]
    assert "the first process says why" in logs[1].splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_torchrun_starts_it(dataset_folder, tmp_path):
    argv = arguments(dataset_folder, tmp_path / "run", epochs=1, **{"validate-every": 1, "baselines": "false"})
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    result = subprocess.run(
        [*torchrun, "-m", "st_reid.train", *argv],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "run" / "report.json").exists()
    assert result.stdout.count("epoch 1/1") == 1
