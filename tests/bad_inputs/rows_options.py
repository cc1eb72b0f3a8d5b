"""Options out of their ranges: what follows a command, and what its line must contain."""

NUMBERS = {
    "train": "epochs seed height width seq_len val_identities validate_every patience data.workers data.persons "
    "data.clips data.batches optim.accumulate checkpoint.every_steps checkpoint.keep eval.batch eval.sheet_queries "
    "eval.rerank.k1 eval.rerank.k2 eval.expand.queries eval.expand.gallery",
    "evaluate": "height width seq_len seed data.workers eval.batch eval.sheet_queries eval.rerank.k1 "
    "eval.expand.queries",
    "extract": "height width seq_len seed batch data.workers first_frame",
    "export": "height width seq_len seed batch clips runs opset data.workers",
    "search": "top",
    "check": "persons tiny",
    "calibrate": "samples seed",
    "tracklets": "first_frame",
}
"""Whole numbers."""

SHARES = {
    "train": "data.crop data.flip data.erase data.jitter data.cast optim.lr optim.weight_decay optim.gamma optim.ema "
    "optim.label_smoothing optim.margin optim.clip_norm optim.warmup_epochs eval.rerank.lambda_value "
    "eval.joint.bin_width eval.joint.sigma",
    "evaluate": "eval.joint.gamma_time eval.joint.lambda_appearance",
    "extract": "fps min_confidence",
    "search": "after before query_time joint.sigma joint.bin_width",
    "calibrate": "far sure_of",
    "group": "threshold",
    "tracklets": "fps start_time min_confidence",
}
"""Other numbers."""

GIVEN = {
    "train": [
        ("--arch=", "arch is empty"),
        ("--arch=psta_resnet5O", "unknown model 'psta_resnet5O'"),
        ("--sources=mras", "unknown dataset 'mras'"),
        ("--device=meta", "device is meta"),
        ("--device=cpu:x", "device is cpu:x"),
        ("--precision=float8", "precision is float8"),
        ("--data.sampler=evenli", "'evenli'"),
        ("--eval.sampler=dens", "'dens'"),
        ("--model.loss=hinge", "model.loss is hinge"),
        ("--model.options={dim: x}", "option 'dim' of model 'psta_osnet_x0_25' is 'x'"),
        ("--model.options={dmi: 3}", "unknown option of model 'psta_osnet_x0_25' 'dmi'"),
        ("--model.options=[1]", "model.options is"),
        ("--optim.milestones=[3, x]", "optim.milestones is x"),
        ("--optim.name=lamb", "optim.name is lamb"),
        ("--data.options={splti: 1}", "unknown option"),
        ("--baselines=maybe", "baselines is maybe"),
        ("--resume={bad}/no", "nothing to resume at"),
        ("--config={bad}/no.yaml", "no.yaml"),
        ("--targets=nothing", "unknown dataset 'nothing'"),
        ("--sampler=all", "--sampler may mean --data.sampler or --eval.sampler"),
        ("--no-such-thing=3", "no_such_thing"),
        ("stray", "stray"),
        ("--data.persons=1 --data.clips=1", "a batch of 1 clip"),
        ("--data.persons=50", "persons"),
        ("--val-identities=100", "val_identities"),
        ("--import={bad}/no.py", "--import {bad}/no.py: FileNotFoundError"),
        ("--import=no_such_module", "--import no_such_module: ModuleNotFoundError"),
        ("--root={bad}/nowhere", "no manifest.csv in {bad}/nowhere"),
    ],
    "evaluate": [
        ("--weights={bad}/no.pth", "no.pth"),
        ("--weights=", "weights is empty"),
        ("--features={good}/features.npz", "pass either --weights"),
        ("--arch=psta", "is of osnet_x0_25"),
        ("--eval.protocol=nobody", "eval.protocol is nobody"),
        ("--eval.junk=all", "eval.junk is all"),
        ("--eval.ap=area", "eval.ap is area"),
        ("--data.interpolation=nearest", "data.interpolation is nearest"),
        ("--sources=nothing", "unknown dataset 'nothing'"),
        ("--eval.joint.use=always --eval.joint.model={bad}/no.npz", "no.npz"),
        ("--output={good}", "{good} exists"),
        ("--device=meta", "device is meta"),
        ("--device=cuda:99", "cuda:99"),
        ("--precision=float16", "float16"),
    ],
    "extract": [
        ("--weights={bad}/no.pth", "no.pth"),
        ("--output={out}/x.txt", "x.txt: features are written to .npz or .parquet"),
        ("--output=", "output is empty"),
        ("--output={good}/features.npz", "features.npz exists"),
        ("--split=query+query", "split is 'query+query'"),
        ("--split=test", "split is 'test'"),
        ("--split=", "split is empty"),
        ("--sampler=none", "'none'"),
        ("--sources=nothing", "unknown dataset 'nothing'"),
        ("--root={bad}/nowhere", "nowhere"),
        ("--video={good}/walk.avi", "1 videos, and 0 in tracks"),
        ("--video={bad}/no.avi --tracks={good}/boxes.txt", "no file {bad}/no.avi"),
        ("--video={good}/walk.avi --tracks={bad}/no.txt", "no.txt"),
        ("--video={good}/walk.avi --tracks={good}/boxes.txt --camera= ", "camera is"),
        ("--video={good}/walk.avi --tracks={good}/boxes.txt --start-time=inf", "start_time is"),
        ("--video={good}/walk.avi --tracks={good}/boxes.txt --camera a b", "1 videos, and 2 in camera"),
        ("--video={good}/walk.avi --tracks={good}/boxes.txt --per-frame", "leave --sampler and --per-frame out"),
        ("--video {good}/walk.avi {good}/walk.avi --tracks {good}/boxes.txt {good}/boxes.txt --camera 1 1",
         "two videos would both be called 'walk_c1'"),
        ("--video={good}/walk.avi --tracks={good}/boxes.txt --format=mto", "unknown format of boxes 'mto'"),
        ("--device=meta", "device is meta"),
        ("--options={dim: 3}", "leave --arch and --options out"),
    ],
    "export": [
        ("--weights={bad}/no.pth", "no.pth"),
        ("--output={out}/x.txt", "x.txt"),
        ("--output=", "output is empty"),
        ("--sampler=none", "'none'"),
        ("--format=tf", "format is tf"),
        ("--sources=nothing", "unknown dataset 'nothing'"),
    ],
    "search": [
        ("--features={bad}/no.npz", "no.npz"),
        ("--features={good}/boxes.txt", "boxes.txt"),
        ("--query=nobody", "nobody"),
        ("--query=", "query is"),
        ("--query {good}/features.npz {bad}/x", "x"),
        ("--cameras=9", "9"),
        ("--calibration={bad}/no.json", "no.json"),
        ("--transit-times={bad}/no.npz", "no.npz"),
        ("--output={good}", "{good} exists"),
        ("--output=", "output is empty"),
        ("--device=meta", "device is meta"),
        ("--query={good}/images/p0c0/000.jpg", "--weights"),
        ("--query={good}/images/p0c0/000.jpg --weights={bad}/no.pth", "no.pth"),
        ("--after=x", "after is x"),
    ],
    "check": [
        ("--root={bad}/nowhere", "nowhere"),
        ("--root=", "root is empty"),
        ("--sources=nothing", "unknown dataset 'nothing'"),
        ("--purpose=play", "purpose is play"),
        ("--read=3", "read is 3"),
        ("--output={good}", "{good} exists"),
        ("--options={split: 3}", "split"),
        ("--options=3", "options is 3"),
    ],
    "calibrate": [
        ("--features={bad}/no.npz", "no.npz"),
        ("--features=", "features is empty"),
        ("--features={good}", "{good}"),
        ("--output={good}", "{good} exists"),
        ("--far=0.0000001", "far is 1e-07"),
        ("--across=perhaps", "across is perhaps"),
    ],
    "group": [
        ("--features={bad}/no.npz", "no.npz"),
        ("--output={good}/boxes.txt", "boxes.txt exists"),
        ("--calibration={good}/calibration.json", "pass either --calibration"),
        ("--threshold=null", "pass either --calibration"),
        ("--threshold=null --calibration={bad}/no.json", "no.json"),
        ("--at-once=3", "at_once is 3"),
    ],
    "report": [
        ("--folder={bad}/nowhere", "nowhere"),
        ("--folder={good}", "{good} has none of"),
        ("--folder=", "folder is empty"),
        ("--output={good}/boxes.txt", "boxes.txt exists"),
        ("--output={good}/boxes.txt/x.html", "boxes.txt"),
    ],
    "tracklets": [
        ("--video={bad}/no.avi", "no.avi"),
        ("--video={good}/boxes.txt", "boxes.txt cannot be opened as a video"),
        ("--video={good}/nothing-*.jpg", "nothing-"),
        ("--video=", "video is empty"),
        ("--tracks={bad}/no.txt", "no.txt"),
        ("--tracks={good}/walk.avi", "walk.avi"),
        ("--identities={bad}/no.csv", "no.csv"),
        ("--identities={good}/boxes.txt", "boxes.txt"),
        ("--camera=a/b", "camera is 'a/b'"),
        ("--camera=..\\a", "camera is"),
        ("--camera=a:b", "camera is 'a:b'"),
        ("--camera=", "camera is empty"),
        ("--split=query+query", "split is 'query+query'"),
        ("--split=test", "split is 'test'"),
        ("--format=mto", "unknown format of boxes 'mto'"),
        ("--format=kitti", "boxes.txt, line 1"),
        ("--format=cvat", "boxes.txt is no track file of CVAT"),
        ("--format=ultralytics", "boxes.txt"),
        ("--classes=7 --format=mot --tracks={good}/classes.txt", "no box is left"),
        ("--min-confidence=0.99", "no box is left"),
        ("--first-frame=2", "frame 1, and the video's first is 2"),
        ("--output={good}", "{good} exists"),
        ("--append", "nothing to append to"),
        ("--strict=3", "strict is 3"),
    ],
}  # fmt: skip
"""Whatever else."""


def rows():
    """Yield command, options, and what must be said."""
    for table, values in ((NUMBERS, ("-1", "1.5", "x")), (SHARES, ("nan", "-inf", "x"))):
        for command, names in table.items():
            for name in names.split():
                for value in values:
                    yield command, f"--{name}={value}", f"{name} is {value}"
    for command, some in GIVEN.items():
        for options, says in some:
            yield command, options, says
