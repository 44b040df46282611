"""The flows `train-teacher`, `train-student` and `train-restorer`: one long job each."""

from functools import partial

from prefect import flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.depth.train_job import TrainJob, train_network


@flow(name="train-teacher", persist_result=False)
def train_teacher(job: TrainJob) -> State:
    """Train a teacher on clear frames; a run that was interrupted goes on from its checkpoint."""
    return run_long_job(partial(train_network, job), "teacher")


@flow(name="train-student", persist_result=False)
def train_student(job: TrainJob) -> State:
    """Train a student on clear frames and variants; an interrupted run goes on."""
    return run_long_job(partial(train_network, job), "student")


@flow(name="train-restorer", persist_result=False)
def train_restorer(job: TrainJob) -> State:
    """Train parts of a network on measured depth, the others frozen; an interrupted run goes on."""
    return run_long_job(partial(train_network, job), "restorer")
