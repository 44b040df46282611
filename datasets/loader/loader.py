"""Training loader: frames joined with their variants and labels, as dicts of tensors.

The content and augmentation of a sample depend only on (seed, epoch, index), not on the number of
workers or ranks.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from nightrain.datasets.errors import CorruptShard
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.corruptions import STANDS_FOR, Kind
from nightrain.datasets.loader.decode import (
    FRAME_COLUMNS,
    NEIGHBOUR_COLUMNS,
    STEREO_COLUMNS,
    TWIN_COLUMNS,
    VARIANT_COLUMNS,
    SampleRows,
    decode_crop,
    decode_sample,
    most_bytes,
)
from nightrain.datasets.loader.index import build_index
from nightrain.datasets.loader.joins import CONDITIONS
from nightrain.datasets.loader.packing import Packed, Slots, Values, as_float, pack, unpack
from nightrain.datasets.loader.row_cache import RowCache
from nightrain.datasets.loader.sampler import Draw, ResumableSampler
from nightrain.datasets.loader.table_rows import TableRows
from nightrain.datasets.shards.label_rows import LABEL_COLUMNS
from nightrain.datasets.shards.parquet import Row

MIXING, AUGMENTING, CORRUPTING, CROPPING = 1, 2, 3, 4  # independent streams of random numbers

PREFETCH = 2  # batches that a worker prepares ahead

Sample = dict[str, torch.Tensor | str]
Batch = dict[str, torch.Tensor | list[str]]


class TrainingSet(Dataset[Sample]):
    """Map-style dataset of the frames of a split, one sample per frame and epoch.

    `dataset[Draw(seed, epoch, index)]` is a dict; `dataset[index]` uses seed 0, epoch 0:

      image (3, H, W) at input_size: the frame, a variant, a twin or a corruption of it
      clear_image (3, H, W) the frame itself, not augmented
      target (3, h, w), with neighbours previous, next (3, h, w): at loss_size, not augmented
      intrinsics (3, 3) pixels of loss_size; previous_intrinsics, next_intrinsics (3, 3)
      T_previous_camera, T_next_camera (4, 4) metres; has_previous, has_next bool
      with stereo, also for variants: stereo (3, H, W) the frame's clear partner, not augmented;
      stereo_intrinsics, shown_intrinsics (3, 3) pixels of input_size; T_stereo_camera (4, 4)
      metres; has_stereo bool
      lidar_depth_m, exact_depth_m, label_depth_m (h, w) metres, 0 = none
      label_confidence (h, w) in [0, 1]
      variant_confidence (h, w) in [0, 1], how far gates trust the variant's pixels; 1 otherwise
      condition int64, index into list(Condition); is_variant bool; index int64
      frame_id, sample_id str

    Images are sRGB in [0, 1]; numbers are float32. If a flip is drawn, the whole sample flips.
    Raises InvalidRequest if tables cannot be joined, CorruptShard for a row that differs from the
    committed one.
    """

    def __init__(self, root: Path, config: TrainingSetConfig) -> None:
        self.config = config
        self.index = build_index(Path(root), config)
        self.rows = RowCache(Path(root), 2 * config.window_mb * 2**20)
        shown = config.corruptions.conditions if config.corruptions else self.index.conditions
        self.p_clear = config.probability_of_clear(len(shown))
        self._frame_columns = (
            FRAME_COLUMNS
            + (("lidar_depth",) if config.lidar_depth else ())
            + (("exact_depth",) if config.exact_depth else ())
            + (NEIGHBOUR_COLUMNS if config.neighbours else ())
            + (STEREO_COLUMNS if config.stereo else ())
        )

    def __len__(self) -> int:
        return len(self.index.frames)

    def __getitem__(self, draw: Draw | int) -> Sample:
        batch = unpack(pack([self.values(draw)]))
        return {
            name: as_float(one) if isinstance(one := of_batch[0], torch.Tensor) else one
            for name, of_batch in batch.items()
        }

    def values(self, draw: Draw | int) -> Values:
        """Values of a sample before packing: images (H, W, 3) uint8."""
        draw = draw if isinstance(draw, Draw) else Draw(0, 0, int(draw))
        if not 0 <= draw.index < len(self):
            raise IndexError(f"found sample number {draw.index}; expected one below {len(self)}")
        chosen = self.choose(draw)
        rows = self.read(draw.index, chosen)
        if self.config.crop_from is None:
            arrays = decode_sample(rows, self.config)
        else:
            arrays = decode_crop(rows, self.config, draw.uniforms(CROPPING))
        if isinstance(chosen, str) and self.config.corruptions is not None:
            numbers = draw.uniforms(CORRUPTING)
            arrays["image"] = self.config.corruptions.apply(chosen, arrays["image"], numbers)
        if self.config.augmentation is not None:
            arrays = self.config.augmentation.draw(draw.uniforms(AUGMENTING)).of_sample(arrays)
        return {
            **arrays,
            "condition": np.array(self._condition(draw.index, chosen)),
            "is_variant": np.array(chosen is not None),
            "index": np.array(draw.index),
            "frame_id": rows.frame["frame_id"],
            "sample_id": _sample_id(rows, chosen),
        }

    def read(self, index: int, chosen: int | Kind | None) -> SampleRows:
        """Read the rows of sample `index` with the image from `choose`; raises CorruptShard."""
        index_of, frame_id = self.index, self.index.frames.columns["frame_id"][index]
        variant = label = None
        if isinstance(chosen, int):
            columns = TWIN_COLUMNS if self.config.twins else VARIANT_COLUMNS
            columns += ("confidence",) if self.config.variant_confidence else ()
            shown_id = index_of.variants.columns["frame_id"][chosen]  # a twin has its own
            variant = self._row(index_of.variants, chosen, columns, shown_id)
        if index_of.labels is not None:
            label = self._row(index_of.labels, index, LABEL_COLUMNS, frame_id)
        frame = self._row(index_of.frames, index, self._frame_columns, frame_id)
        return SampleRows(frame=frame, variant=variant, label=label)

    def choose(self, draw: Draw) -> int | Kind | None:
        """Choose a sample's image: a row of `index.variants`, a corruption, or None for clear.

        The image is clear with probability `p_clear`. Otherwise a condition is drawn uniformly from
        those that this frame has variants of, then one of its variants of that condition.
        """
        is_clear, which, of_which = draw.uniforms(MIXING)[:3].tolist()
        if is_clear < self.p_clear:
            return None
        if self.config.corruptions is not None:
            kinds = self.config.corruptions.kinds
            return kinds[int(which * len(kinds))]
        begin, end = self.index.variant_starts[draw.index : draw.index + 2]
        if begin == end:  # all its variants are in quarantine, or the frame is not clear
            return None
        conditions = self.index.variant_condition[begin:end]
        there = np.unique(conditions)
        rows = begin + np.flatnonzero(conditions == there[int(which * len(there))])
        return int(rows[int(of_which * len(rows))])

    def sampler(
        self, seed: int, *, rank: int = 0, world_size: int = 1, shuffle: bool = True
    ) -> ResumableSampler:
        """Return a sampler at the start of epoch 0; its windows of row groups have `window_mb`."""
        blocks = self.index.blocks()
        return ResumableSampler(
            len(self),
            seed,
            rank=rank,
            world_size=world_size,
            shuffle=shuffle,
            blocks=blocks,
            window_blocks=max(4, int(self.config.window_mb * 2**20 / self.index.bytes_per_block())),
        )

    def _row(self, table: TableRows, index: int, columns: tuple[str, ...], frame_id: str) -> Row:
        """Read row `index` of a table and check that it is that frame's; raises CorruptShard."""
        file = table.files[table.file[index]]
        row = self.rows.row(file, int(table.row[index]), columns)
        if row["frame_id"] != frame_id:
            raise CorruptShard(
                f"{file.path} row {table.row[index]} has frame {row['frame_id']}; when training "
                f"started, it had {frame_id}. Run `nightrain verify` to find the changed file."
            )
        return row

    def _condition(self, index: int, chosen: int | Kind | None) -> int:
        if chosen is None:
            return int(self.index.frame_condition[index])
        if isinstance(chosen, str):
            return CONDITIONS.index(STANDS_FOR[chosen])
        return int(self.index.variant_condition[chosen])


class TrainingLoader(DataLoader[Packed]):
    """A DataLoader over packed batches that yields dicts: tensors (B, ...) and lists of str."""

    def __iter__(self) -> Iterator[Batch]:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert isinstance(self.dataset, PackedBatches)
        slots, pin_memory = self.dataset.slots, self.pin_memory
        return (unpack(batch, slots, pin_memory) for batch in super().__iter__())


class PackedBatches(Dataset[Packed]):
    """A training set that returns packed batches, from workers in `slots`."""

    def __init__(self, samples: TrainingSet, slots: Slots | None = None) -> None:
        self.samples, self.slots = samples, slots

    def __len__(self) -> int:
        return len(self.samples)

    def __getitems__(self, draws: Sequence[Draw]) -> Packed:
        return pack([self.samples.values(draw) for draw in draws], self.slots)


def make_loader(
    dataset: TrainingSet,
    sampler: ResumableSampler,
    batch_size: int,
    *,
    num_workers: int = 0,
    start_method: Literal["fork", "forkserver", "spawn"] = "fork",
    drop_last: bool = True,
    pin_memory: bool = False,
) -> TrainingLoader:
    """Return a DataLoader of batches (B, ...) of TrainingSet's samples; texts become lists.

    Images are uint8: `packing.as_float` converts them to float32 in [0, 1], best on the training
    device. The tensors of a batch are views of one block of memory.

    The batches depend only on the sampler's state, for any number of workers. `batch_size` is per
    rank; the sampler already splits samples among ranks, so do not split them again (no
    DistributedSampler, no `accelerator.prepare` of the loader). The training loop calls
    `sampler.advance(batch_size * world_size)` after each step and `sampler.next_epoch()` after the
    last. Workers persist across epochs. Fork starts them in a few milliseconds and is safe if no
    thread of this process holds a lock; once CUDA has been used, choose spawn.
    """
    if num_workers:  # a forked worker would wait forever for a thread pool that it lacks
        cv2.setNumThreads(0)
    slots = None
    if num_workers:
        slots = Slots(num_workers, PREFETCH + 1, batch_size * most_bytes(dataset.config))
    return TrainingLoader(
        PackedBatches(dataset, slots),
        collate_fn=_as_it_is,
        batch_size=batch_size,
        sampler=sampler,
        drop_last=drop_last,
        num_workers=num_workers,
        multiprocessing_context=start_method if num_workers else None,
        prefetch_factor=PREFETCH if num_workers else None,
        persistent_workers=num_workers > 0,
        worker_init_fn=_begin_worker if num_workers else None,
        pin_memory=pin_memory,
    )


def _as_it_is(batch: Any) -> Packed:
    return batch


def _begin_worker(_: int) -> None:
    cv2.setNumThreads(0)  # workers already run in parallel
    torch.set_num_threads(1)


def _sample_id(rows: SampleRows, chosen: int | Kind | None) -> str:
    if rows.variant is not None:
        return rows.variant.get("sample_id") or rows.variant["frame_id"]
    frame_id = rows.frame["frame_id"]
    return frame_id if chosen is None else f"{frame_id}-{chosen}"
