"""Training loader: throughput against bare decoding, and time to the first sample.

    python -m nightrain.benchmarks.loader DATASET [--recipe NAME ...] [--labels TEACHER]
        [--neighbours] [--input 448x256] [--losses 224x128] [--window-mb 128] [--plain] [--json]

Bare decoding holds the bytes of the same samples in memory, decodes and resizes their images and
depth maps, and discards them, in as many processes as the loader has. The two take turns, so that
other load on the machine affects both; the median ratio over the turns is the result. A ratio of 1
means that the loader adds no cost.
"""

import argparse
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from nightrain.benchmarks.image_size import image_size
from nightrain.benchmarks.report import Figure, print_figures
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.decode import decode_sample
from nightrain.datasets.loader.loader import TrainingSet, make_loader
from nightrain.datasets.loader.sampler import Draw

BATCH, SEED = 4, 0


class DecodeOnly(Dataset[int]):
    """Dataset that decodes and resizes samples from bytes already in memory."""

    def __init__(self, dataset: TrainingSet, draws: list[Draw]) -> None:
        self.config = dataset.config
        self.rows = [dataset.read(draw.index, dataset.choose(draw)) for draw in draws]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        decode_sample(self.rows[index], self.config)
        return index


def measure(root: Path, config: TrainingSetConfig, repeats: int) -> list[Figure]:
    """Measure the ratios for 0, 1 and 2 workers, then the time to the first sample."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    dataset = TrainingSet(root, config)
    figures = []
    for num_workers in (0, 1, 2):
        figures += _ratio(dataset, num_workers, repeats)
    first = [_seconds_to_first(root, config, 0.0) for _ in range(repeats)]
    middle = [_seconds_to_first(root, config, 0.5) for _ in range(repeats)]
    begun = [_seconds_to_begin_of_rest(dataset) for _ in range(repeats)]
    return [
        *figures,
        Figure("first batch, index included", statistics.median(first), "s", "at most 0.3"),
        Figure("first batch, resumed at 50 %", statistics.median(middle), "s", "at most 0.5"),
        Figure("share of the sampler in it", statistics.median(begun), "s", ""),
    ]


def _ratio(dataset: TrainingSet, num_workers: int, repeats: int) -> list[Figure]:
    """Measure samples per second of the loader and of bare decoding, over alternating epochs."""
    sampler = dataset.sampler(SEED)
    bare = DecodeOnly(dataset, list(sampler))
    loader = make_loader(dataset, sampler, BATCH, num_workers=num_workers, drop_last=False)
    decoder = DataLoader(bare, BATCH, num_workers=num_workers, persistent_workers=num_workers > 0)
    for batches in (loader, decoder):  # warm-up: starts workers, checks files
        _seconds(batches)
    pairs = [(_seconds(decoder), _seconds(loader)) for _ in range(repeats)]
    share = [decode[0] / load[0] for decode, load in pairs]
    decode_s, load_s = (
        statistics.median(s[0] for s in column) for column in zip(*pairs, strict=True)
    )
    name = f"{num_workers} workers"
    figures = [
        Figure(f"{name}: bare decoding", len(dataset) / decode_s, "samples/s", ""),
        Figure(f"{name}: loader", len(dataset) / load_s, "samples/s", ""),
        Figure(f"{name}: loader / decoding", statistics.median(share), "", "at least 0.85"),
        Figure(f"{name}: lowest of {repeats} turns", min(share), "", ""),
        Figure(f"{name}: highest", max(share), "", ""),
    ]
    if num_workers == 0:  # CPU time of this process, not affected by other load
        of_cpu = statistics.median(decode[1] / load[1] for decode, load in pairs)
        figures.append(Figure(f"{name}: loader / decoding by CPU time", of_cpu, "", ""))
    return figures


def _seconds(batches: Iterable[object]) -> tuple[float, float]:
    """Iterate over batches; return the wall time and this process's CPU time in seconds."""
    started, cpu_started = time.perf_counter(), time.process_time()
    for _ in batches:
        pass
    return time.perf_counter() - started, time.process_time() - cpu_started


def _seconds_to_first(root: Path, config: TrainingSetConfig, share: float) -> float:
    """Seconds from opening the data set to the first batch, `share` of an epoch in."""
    started = time.perf_counter()
    dataset = TrainingSet(root, config)
    sampler = dataset.sampler(SEED)
    consumed = int(len(dataset) * share)
    sampler.load_state_dict({"seed": SEED, "epoch": 3, "consumed": consumed})
    next(iter(make_loader(dataset, sampler, BATCH)))
    return time.perf_counter() - started


def _seconds_to_begin_of_rest(dataset: TrainingSet) -> float:
    started = time.perf_counter()
    sampler = dataset.sampler(SEED)
    sampler.advance(len(dataset) // 2)
    next(iter(sampler))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--recipe", action="append", default=[], help="recipe, by name or hash")
    parser.add_argument("--labels", help="folder below labels/")
    parser.add_argument("--neighbours", action="store_true", help="also load neighbouring frames")
    parser.add_argument(
        "--input", type=image_size, default="448x256", help="size of the network's input"
    )
    parser.add_argument("--losses", type=image_size, default="224x128", help="size of the losses")
    parser.add_argument(
        "--window-mb", type=int, default=128, help="smaller than the data: no cache"
    )
    parser.add_argument("--plain", action="store_true", help="without augmentation")
    parser.add_argument("--repeats", type=int, default=5, help="number of turns")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    fields = {
        "recipes": options.recipe,
        "labels": options.labels,
        "neighbours": options.neighbours,
        "input_size": options.input,
        "window_mb": options.window_mb,
        "loss_size": options.losses,
        **({"augmentation": None} if options.plain else {}),
    }
    config = TrainingSetConfig.model_validate(fields)
    figures = measure(options.dataset, config, options.repeats)
    sizes = ("x".join(map(str, size)) for size in (options.input, options.losses))
    print_figures("loader, {} in, losses {}".format(*sizes), figures, options.json)


if __name__ == "__main__":
    main()
