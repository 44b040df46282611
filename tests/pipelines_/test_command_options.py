"""Jobs as the options of commands: light to import, described, and written back as a command."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from nightrain.depthmodel.evaluation.settings import PROTOCOLS
from nightrain.depthmodel.training.preset_registry import PRESETS
from nightrain.pipelines.demo_job import DemoJob
from nightrain.pipelines.depth.evaluation_job import EvaluationJob
from nightrain.pipelines.depth.train_job import TrainJob
from nightrain.pipelines.usefulness.job import UsefulnessJob

JOBS = (TrainJob, EvaluationJob, UsefulnessJob, DemoJob)
MODULES = [job.__module__ for job in JOBS]


@pytest.mark.parametrize("module", MODULES)
def test_a_commands_options_load_no_network_library(module: str) -> None:
    code = f"import sys, {module}; print(*{{m.split('.')[0] for m in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "pyarrow", "cv2", "prefect"} & set(done.stdout.split())


@pytest.mark.parametrize("job", JOBS)
def test_every_option_is_described(job: type[BaseModel]) -> None:
    for name, field in job.model_fields.items():
        assert field.description and len(field.description) > 10, name


def test_examples_list_what_the_registries_hold() -> None:
    assert TrainJob.model_fields["preset"].examples == list(PRESETS)
    assert EvaluationJob.model_fields["protocol"].examples == list(PROTOCOLS)


def study(**changes: object) -> UsefulnessJob:
    fields = {"dataset": "/d/data", "teacher": "/t/teacher", "variants": "night", "out": "/o/study"}
    return UsefulnessJob.model_validate(fields | changes)


def test_a_command_names_what_is_not_the_default_and_no_folder_of_this_machine() -> None:
    job = study(
        arms=("clear", "weather"),
        seeds=(3, 4, 5),
        dose=(0.9,),
        other_variants=("rain",),
        device="cpu",
    )
    assert job.command == (
        "nightrain usefulness data --teacher teacher --variants night --out study "
        "--arms clear,weather --seeds 3,4,5 --dose 0.9 --other-variants rain --device cpu"
    )
    train = TrainJob(preset="p", dataset=Path("/d/data"), out=Path("/r/run"), tracker="tensorboard")
    assert train.command == "nightrain train p data --out run --tracker tensorboard"


@pytest.mark.parametrize("changes", [{"seeds": (1, 1)}, {"seeds": (-1,)}, {"dose": (1.5,)}])
def test_values_out_of_bounds_and_given_twice_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"each value only once|greater than|less than"):
        study(**changes)
