"""Resumable sampler: the order of an epoch is a function of (seed, epoch).

The whole data state of a run is (seed, epoch, consumed). Resuming reads nothing twice, and the
order depends neither on workers nor on ranks.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from nightrain.datasets.errors import InvalidRequest

_ORDER = 0xD157  # separates the draws of the order from those of the samples


@dataclass(frozen=True, slots=True)
class Draw:
    """A sample to draw, with everything that its random choices depend on."""

    seed: int
    epoch: int
    index: int

    def uniforms(self, stream: int) -> np.ndarray:
        """Uniform numbers (16,) in [0, 1) from a hash of this draw; streams are independent.

        A random generator per sample would cost ten times as much.
        """
        key = f"{stream}/{self.seed}/{self.epoch}/{self.index}".encode()
        return np.frombuffer(hashlib.blake2b(key).digest(), "<u4") * 2.0**-32


class SamplerState(TypedDict):
    """State of the data order, as a checkpoint keeps it."""

    seed: int
    epoch: int
    consumed: int


class ResumableSampler:
    """Draws of one rank: order(seed, epoch) from `consumed` on, every `world_size`-th from `rank`.

    `consumed` counts samples of all ranks. Only the training loop advances it (`advance`), because
    workers read ahead: samples that were handed out may not have been trained on yet. `blocks` are
    the lengths of consecutive runs of samples that are cheap to read together (row groups): blocks
    are shuffled, then the samples within every `window_blocks` of them. Without blocks all samples
    are shuffled at once. Samples beyond a multiple of `world_size` are left out, so every rank gets
    the same number; a loader that drops its last partial batch then drops the same samples for any
    number of ranks with the same global batch size. Raises InvalidRequest.
    """

    def __init__(
        self,
        num_samples: int,
        seed: int,
        epoch: int = 0,
        consumed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        blocks: Sequence[int] | None = None,
        window_blocks: int = 32,
    ) -> None:
        if num_samples < 1 or not 0 <= rank < world_size or window_blocks < 1:
            raise InvalidRequest(
                f"Found {num_samples} samples, rank {rank} of {world_size} and windows of "
                f"{window_blocks} blocks; expected at least 1 each, and a rank below world_size."
            )
        if blocks is not None and sum(blocks) != num_samples:
            raise InvalidRequest(f"The blocks hold {sum(blocks)} samples; expected {num_samples}.")
        self.num_samples, self.rank, self.world_size = num_samples, rank, world_size
        self.shuffle, self.blocks, self.window_blocks = shuffle, blocks, window_blocks
        self.seed = self.epoch = self.consumed = 0
        self.load_state_dict({"seed": seed, "epoch": epoch, "consumed": consumed})

    def __len__(self) -> int:
        return (self.num_samples - self.consumed) // self.world_size

    def __iter__(self) -> Iterator[Draw]:
        seed, epoch, begin = self.seed, self.epoch, self.consumed
        end = begin + len(self) * self.world_size
        for index in self.order()[begin + self.rank : end : self.world_size].tolist():
            yield Draw(seed, epoch, index)

    def order(self) -> np.ndarray:
        """All sample indices (N,) int64 of this epoch, in their order over all ranks."""
        if not self.shuffle:
            return np.arange(self.num_samples)
        rng = np.random.default_rng([_ORDER, self.seed, self.epoch])
        if self.blocks is None:
            return rng.permutation(self.num_samples)
        lengths = np.asarray(self.blocks)
        starts = np.cumsum(lengths) - lengths
        blocks = rng.permutation(len(lengths))
        windows = np.split(blocks, range(self.window_blocks, len(blocks), self.window_blocks))
        return np.concatenate([rng.permutation(_members(starts, lengths, w)) for w in windows])

    def advance(self, num_samples: int) -> None:
        """Advance by `num_samples` trained samples, counted over all ranks."""
        self.consumed = min(self.num_samples, self.consumed + num_samples)

    def next_epoch(self) -> None:
        """Start the next epoch."""
        self.epoch, self.consumed = self.epoch + 1, 0

    def state_dict(self) -> SamplerState:
        """State to resume from, with any number of workers and ranks."""
        return {"seed": self.seed, "epoch": self.epoch, "consumed": self.consumed}

    def load_state_dict(self, state: SamplerState) -> None:
        """Resume from a state; raises InvalidRequest if it does not fit the number of samples."""
        seed, epoch, consumed = (int(state[k]) for k in ("seed", "epoch", "consumed"))
        if min(seed, epoch, consumed) < 0 or consumed > self.num_samples:
            raise InvalidRequest(
                f"The state (seed {seed}, epoch {epoch}, {consumed} samples consumed) is not valid "
                f"for {self.num_samples} samples; use a checkpoint of this training set."
            )
        self.seed, self.epoch, self.consumed = seed, epoch, consumed


def _members(starts: np.ndarray, lengths: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Samples of the given blocks, one block after the other."""
    return np.concatenate([np.arange(starts[b], starts[b] + lengths[b]) for b in blocks])
