import os
import time
from pathlib import Path

import numpy as np
import pytest

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.sampler import Draw, ResumableSampler


def indices(sampler: ResumableSampler) -> list[int]:
    return [draw.index for draw in sampler]


@pytest.mark.parametrize("blocks", [None, [16] * 5 + [3, 1]])
def test_an_epoch_holds_every_sample_once(blocks: list[int] | None) -> None:
    first = ResumableSampler(84, seed=3, blocks=blocks, window_blocks=2)
    order = indices(first)
    assert sorted(order) == list(range(84)) and order != list(range(84))
    assert order == indices(ResumableSampler(84, seed=3, blocks=blocks, window_blocks=2))
    first.next_epoch()
    assert sorted(indices(first)) == list(range(84)) and indices(first) != order
    assert indices(ResumableSampler(84, seed=4, blocks=blocks, window_blocks=2)) != order


def test_every_draw_says_seed_and_epoch() -> None:
    assert list(ResumableSampler(2, seed=5, epoch=7, shuffle=False)) == [
        Draw(5, 7, 0),
        Draw(5, 7, 1),
    ]


def test_numbers_of_a_draw_are_even_and_its_own() -> None:
    draws = [Draw(s, e, i) for s in (0, 1) for e in range(10) for i in range(100)]
    numbers = np.array([draw.uniforms(stream) for draw in draws for stream in (1, 2)])
    assert numbers.shape == (4000, 16) and numbers.min() >= 0 and numbers.max() < 1
    assert len(np.unique(numbers[:, 0])) == 4000
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert np.abs(counts / counts.mean() - 1).max() < 0.08
    correlation = np.corrcoef(np.hstack([numbers[0::2], numbers[1::2]]).T) - np.eye(32)
    assert np.abs(correlation).max() < 0.12  # 2000 draws: 5 sigma
    assert (Draw(0, 1, 11).uniforms(1) != Draw(0, 11, 1).uniforms(1)).all()


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_ranks_together_give_the_order_of_one(world_size: int) -> None:
    whole = indices(ResumableSampler(50, seed=1, blocks=[10] * 5, window_blocks=3))
    ranks = [
        indices(
            ResumableSampler(50, 1, rank=r, world_size=world_size, blocks=[10] * 5, window_blocks=3)
        )
        for r in range(world_size)
    ]
    assert len({len(of_rank) for of_rank in ranks}) == 1
    together = [index for group in zip(*ranks, strict=True) for index in group]
    assert together == whole[: 50 // world_size * world_size]


@pytest.mark.parametrize("consumed", [0, 1, 7, 24, 49, 50])
def test_resuming_anywhere_gives_the_rest(consumed: int) -> None:
    whole = indices(ResumableSampler(50, seed=1, blocks=[5] * 10, window_blocks=4))
    resumed = ResumableSampler(50, seed=9, blocks=[5] * 10, window_blocks=4)
    resumed.load_state_dict({"seed": 1, "epoch": 0, "consumed": consumed})
    assert indices(resumed) == whole[consumed:] and len(resumed) == 50 - consumed


def test_the_state_goes_from_two_ranks_to_one() -> None:
    whole = indices(ResumableSampler(40, seed=2))
    two = [ResumableSampler(40, seed=2, rank=r, world_size=2) for r in (0, 1)]
    for sampler in two:
        sampler.advance(12)
    one = ResumableSampler(40, seed=0)
    one.load_state_dict(two[1].state_dict())
    assert two[0].state_dict() == two[1].state_dict() == {"seed": 2, "epoch": 0, "consumed": 12}
    assert indices(one) == whole[12:]


def test_reading_ahead_is_not_consuming() -> None:
    sampler = ResumableSampler(10, seed=0)
    ahead = iter(sampler)
    _ = [next(ahead) for _ in range(6)]
    assert sampler.state_dict()["consumed"] == 0


def test_windows_mix_as_far_as_they_reach() -> None:
    """Neighbours in a window come from many blocks, and blocks lie anywhere in the epoch."""
    order = np.array(
        indices(ResumableSampler(16_000, seed=0, blocks=[16] * 1000, window_blocks=32))
    )
    blocks = order // 16
    batches = blocks.reshape(-1, 4)
    distinct = np.array([len(set(b)) for b in batches.tolist()])
    assert distinct.mean() > 3.6  # of 4, where one block after the other would give 1
    assert len(set(blocks[: 32 * 16].tolist())) == 32
    assert abs(np.corrcoef(order, np.arange(16_000))[0, 1]) < 0.1


def test_resuming_late_reads_nothing_again() -> None:
    """A million samples: what is passed over is not walked through."""
    sampler = ResumableSampler(1_000_000, seed=0, blocks=[16] * 62_500, consumed=999_990)
    started = time.process_time()
    assert len(indices(sampler)) == 10
    assert time.process_time() - started < 5.0  # far above what it takes; a walk would take minutes


@pytest.mark.parametrize(
    "state",
    [
        {"seed": 0, "epoch": 0, "consumed": 11},
        {"seed": 0, "epoch": -1, "consumed": 0},
        {"seed": -1, "epoch": 0, "consumed": 0},
    ],
)
def test_a_state_of_another_data_set_is_refused(state: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest, match="is not valid for"):
        ResumableSampler(10, **state)


def test_impossible_ranks_and_blocks_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="rank 2 of 2"):
        ResumableSampler(10, 0, rank=2, world_size=2)
    with pytest.raises(InvalidRequest, match="blocks hold 9 samples; expected 10"):
        ResumableSampler(10, 0, blocks=[4, 5])


def _run_rank(rank: int, folder: str) -> None:
    """Gather the orders of two processes over gloo; rank 0 writes them down."""
    import torch
    import torch.distributed as distributed

    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    sampler = ResumableSampler(51, seed=6, rank=rank, world_size=2, blocks=[17] * 3)
    sampler.advance(4)
    mine = torch.tensor(indices(sampler))
    gathered = [torch.empty_like(mine) for _ in range(2)]
    distributed.all_gather(gathered, mine)
    if rank == 0:
        np.save(os.path.join(folder, "order.npy"), torch.stack(gathered, 1).flatten().numpy())
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_over_gloo_share_one_order(tmp_path: Path) -> None:
    import torch.multiprocessing as multiprocessing

    multiprocessing.spawn(_run_rank, args=(str(tmp_path),), nprocs=2)
    whole = indices(ResumableSampler(51, seed=6, blocks=[17] * 3))
    assert np.load(tmp_path / "order.npy").tolist() == whole[4:50]
