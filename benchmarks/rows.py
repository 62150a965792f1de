"""All benchmarks, with what each row should reach."""

from __future__ import annotations

from benchmarks.harness import HIGHER, LOWER, Benchmark, Row

LITE0, RESNET, DENSENET = "tf_efficientnet_lite0", "random/resnet34", "random/densenet121"
ORIGINAL = {"augmentations": ("original",), "views": 2}
BOTH = {"augmentations": ("original", "dermoscopy"), "views": 4, "floor_share": 0.25}
FLOOR = "extract over its floor (decode, resize, forward passes)"
LOOP = "extract over the timm + DataLoader loop (2 workers, eager fp32)"
TRAIN = "train on cached features, logreg, whole command over a bare scikit-learn script"

BENCHMARKS = (
    Benchmark(
        "lite0",
        "extraction:beside",
        {"floor": Row(f"{FLOOR}, lite0", 0.85, HIGHER), "loop": Row(f"{LOOP}, lite0", 11, HIGHER)},
        seconds=40,
        options={"backbone": LITE0, "images": 256, "loop": 48},
    ),
    Benchmark(
        "resnet34",
        "extraction:beside",
        {"floor": Row(f"{FLOOR}, resnet34", 0.95, HIGHER), "loop": Row(f"{LOOP}, resnet34", 2.8, HIGHER)},
        seconds=50,
        options={"backbone": RESNET, "loop": 48},
        in_quick=False,
    ),
    Benchmark(
        "densenet121",
        "extraction:beside",
        {"floor": Row(f"{FLOOR}, densenet121", 0.95, HIGHER)},
        seconds=45,
        options={"backbone": DENSENET},
        in_quick=False,
    ),
    Benchmark(
        "lite0-original",
        "extraction:beside",
        {
            "floor": Row(f"{FLOOR}, lite0, `original`, 2 views", 0.80, HIGHER),
            "loop": Row(f"{LOOP} with the same transforms, lite0, `original`, 2 views", 7, HIGHER),
        },
        seconds=45,
        options={"backbone": LITE0, "loop": 32, **ORIGINAL},
    ),
    Benchmark(
        "resnet34-original",
        "extraction:beside",
        {
            "floor": Row(f"{FLOOR}, resnet34, `original`, 2 views", 0.93, HIGHER),
            "loop": Row(f"{LOOP} with the same transforms, resnet34, `original`, 2 views", 2.8, HIGHER),
        },
        seconds=70,
        options={"backbone": RESNET, "loop": 32, **ORIGINAL},
        in_quick=False,
    ),
    Benchmark(
        "lite0-both",
        "extraction:beside",
        {"floor": Row(f"{FLOOR}, lite0, `original` and `dermoscopy`, 4 views each", 0.80, HIGHER)},
        seconds=60,
        options={"backbone": LITE0, **BOTH},
        in_quick=False,
    ),
    Benchmark(
        "visbench-lite0",
        "extraction:beside_visbench",
        {"visbench": Row("extract over VisBench's cache, lite0", 10, HIGHER)},
        seconds=25,
        options={"backbone": LITE0, "images": 256},
        in_quick=False,
    ),
    Benchmark(
        "visbench-resnet34",
        "extraction:beside_visbench",
        {"visbench": Row("extract over VisBench's cache, resnet34", 2.7, HIGHER)},
        seconds=40,
        options={"backbone": RESNET},
        in_quick=False,
    ),
    Benchmark(
        "allocator",
        "allocator:kept_memory",
        {"kept": Row("forward passes of lite0 that keep their memory, over those that do not", 1.2, HIGHER)},
        seconds=20,
        rounds=7,
        options={"backbone": LITE0},
        in_quick=False,
    ),
    Benchmark(
        "ceiling",
        "extraction:ceiling",
        {"ceiling": Row(f"{FLOOR}, tiny network and pictures: the pipeline's ceiling", 0.90, HIGHER)},
        seconds=30,
    ),
    Benchmark(
        "feeding",
        "feeding:fed",
        {"fed": Row("extract on a device of fixed speed (simulated), over that device's own time", 1.05, LOWER)},
        seconds=20,
    ),
    Benchmark(
        "read",
        "stores:whole_read",
        {"read": Row("whole read of a store over `numpy.load` of the same array", 1.5, LOWER)},
        seconds=12,
        rounds=11,
    ),
    Benchmark(
        "plan-width",
        "stores:wide_plan",
        {"width": Row("plan of an untouched store, 1,280 numbers a vector over 16", 1.2, LOWER)},
        seconds=20,
        rounds=7,
        in_quick=False,
    ),
    Benchmark(
        "plan",
        "stores:plan",
        {
            "plan": Row("plan of an untouched store of 100,000 images, seconds", 1.0, LOWER),
            "open": Row("opening a store of 100,000 images, milliseconds", 2.0, LOWER),
        },
        seconds=20,
        rounds=7,
        options={"rows": 100_000},
    ),
    Benchmark(
        "plan-large",
        "stores:plan",
        {
            "plan": Row("plan of an untouched store of 1,000,000 images, seconds", 5.0, LOWER),
            "open": Row("opening a store of 1,000,000 images, milliseconds", 2.0, LOWER),
        },
        seconds=35,
        options={"rows": 1_000_000},
        in_quick=False,
    ),
    Benchmark(
        "train",
        "training:command",
        {
            "wall": Row(f"{TRAIN}: wall time", 1.4, LOWER),
            "processor": Row(f"{TRAIN}: processor time", 1.2, LOWER),
            "memory": Row(f"{TRAIN}: peak memory", 1.5, LOWER),
        },
        seconds=35,
    ),
    Benchmark(
        "penalties",
        "training:penalties",
        {"fits": Row("logistic regressions of 16 penalties fitted together, over one after another", 5, HIGHER)},
        seconds=60,
        in_quick=False,
    ),
    Benchmark(
        "mlp-64",
        "training:mlp",
        {"epoch": Row("MLP epoch over a bare torch loop, hidden 64", 1.10, LOWER)},
        seconds=15,
        options={"hidden": 64},
    ),
    Benchmark(
        "mlp-512",
        "training:mlp",
        {"epoch": Row("MLP epoch over a bare torch loop, hidden 512", 1.05, LOWER)},
        seconds=30,
        options={"hidden": 512},
        in_quick=False,
    ),
    Benchmark(
        "tuning-lite0",
        "networks:tuning",
        {"epoch": Row("images/s of a tuning epoch over a bare PyTorch loop, lite0", 0.95, HIGHER)},
        seconds=38,
        options={"backbone": LITE0, "images": 64},
        in_quick=False,
    ),
    Benchmark(
        "help",
        "training:show_help",
        {"help": Row("`hamcache --help`, seconds", 0.2, LOWER)},
        seconds=4,
        rounds=9,
    ),
    Benchmark(
        "founding",
        "studies:founding",
        {
            "founding": Row(
                "the founding project's ten trials of twelve epochs, networks re-run (extrapolated from batches), over "
                "extract once and ten trials: processor time",
                300,
                HIGHER,
            )
        },
        seconds=60,
        in_quick=False,
    ),
    Benchmark(
        "sweep",
        "studies:sweep",
        {"overhead": Row("a sweep's trial beside its own training, seconds", 0.1, LOWER)},
        seconds=35,
        rounds=10,
        in_quick=False,
    ),
    Benchmark(
        "audit",
        "studies:audit",
        {"pixels": Row("audit's comparison of pixels for 10,015 images (scaled from 320), seconds", 120, LOWER)},
        seconds=30,
    ),
    Benchmark(
        "resnet34-both",
        "extraction:beside",
        {"floor": Row(f"{FLOOR}, resnet34, `original` and `dermoscopy`, 4 views each", 0.93, HIGHER)},
        seconds=60,
        options={"backbone": RESNET, **BOTH},
        in_quick=False,
    ),
)
"""In the order of the table. The shortest are run first: where the time is up, the longest go without."""
