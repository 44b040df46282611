"""Student cost: operations of a training step with and without restoration.

    python -m nightrain.benchmarks.student_cost DATASET --teacher MODEL --labels NAME
        --recipe FOLDER

The command counts the multiplications and additions of one step, forward and backward, for arms of
the usefulness study (docs/studies/usefulness.md). The last column is the ratio to the main arm; the
study's arm of equal compute takes that many times the steps. NAME is a folder below labels/, FOLDER
one below variants/.
"""

import argparse
import tempfile
from pathlib import Path

from torch.utils.flop_counter import FlopCounterMode

from nightrain.depthmodel.network.model import DepthModel
from nightrain.depthmodel.training.loop import make_accelerator
from nightrain.depthmodel.training.trainer import Trainer
from nightrain.pipelines.usefulness.arms import ARMS as KNOWN
from nightrain.pipelines.usefulness.student import student_config

ARMS = ("weather", "restored", "frozen", "restored-frozen")


def operations(name: str, options: argparse.Namespace) -> int:
    """Count the operations of one training step of an arm, at the study's batch size."""
    config = student_config(
        KNOWN[name],
        seed=0,
        teacher=options.teacher.resolve(),
        network=DepthModel.from_pretrained(options.teacher).config,
        labels=options.labels,
        recipes=(options.recipe,),
        num_conditions=4,
    )
    with tempfile.TemporaryDirectory() as run:
        trainer = Trainer(config, options.dataset, Path(run), make_accelerator(config, "cpu"))
        trainer.do_step()  # the first step does extra work once
        with FlopCounterMode(display=False) as counter:
            trainer.do_step()
        trainer.close()
    return counter.get_total_flops()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--teacher", type=Path, required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--recipe", required=True)
    options = parser.parse_args()
    found = {name: operations(name, options) for name in ARMS}
    print(f"| arm | operations per step | ratio to {ARMS[0]} |\n| --- | ---: | ---: |")
    for name, count in found.items():
        print(f"| {name} | {count / 1e9:.1f} G | {count / found[ARMS[0]]:.2f} |")


if __name__ == "__main__":
    main()
