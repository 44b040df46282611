"""The flows `train-teacher`, `train-student`, `train-restorer`; `train-network` for other roles.

Each is one long job, which resumes from its checkpoint.
"""

from functools import partial
from typing import Any

from prefect import Flow, flow
from prefect.client.schemas.objects import State

from nightrain.flows.runtime.failure import flow_settings
from nightrain.flows.runtime.long_job import run_long_job
from nightrain.pipelines.depth import train_job
from nightrain.pipelines.depth.train_job import TrainJob


@flow(name="train-teacher", **flow_settings())
def train_teacher(job: TrainJob) -> State:
    """Train a teacher on clear frames, or resume its run."""
    return run_long_job(job, partial(train_job.train_network, job), "teacher")


@flow(name="train-student", **flow_settings())
def train_student(job: TrainJob) -> State:
    """Train a student on clear frames and variants, or resume its run."""
    return run_long_job(job, partial(train_job.train_network, job), "student")


@flow(name="train-restorer", **flow_settings())
def train_restorer(job: TrainJob) -> State:
    """Train a frozen network's restoration on measured depth, or resume its run."""
    return run_long_job(job, partial(train_job.train_network, job), "restorer")


@flow(name="train-network", **flow_settings())
def train_network(job: TrainJob) -> State:
    """Train a network in another package's role, or resume its run."""
    return run_long_job(job, partial(train_job.train_network, job), "network")


def flow_of(job: TrainJob) -> Flow[..., Any]:
    """Return the flow of the role that a job trains; raises InvalidRequest."""
    flows = {"teacher": train_teacher, "student": train_student, "restorer": train_restorer}
    return flows.get(job.config().role.kind(), train_network)
