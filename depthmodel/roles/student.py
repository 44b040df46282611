"""Student: trained on clear frames and variants with the labels a teacher gave the clear frame."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from nightrain.datasets.errors import InvalidRequest
from nightrain.datasets.loader.config import TrainingSetConfig
from nightrain.datasets.loader.table_rows import TableRows
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.decoders.base import Maps
from nightrain.depthmodel.losses.base import Poses
from nightrain.depthmodel.losses.mixtures import StudentLoss, reliable_pixels, student_loss
from nightrain.depthmodel.losses.restoration import target_loss
from nightrain.depthmodel.losses.weighted_sum import Loss
from nightrain.depthmodel.model_header import saved_digest
from nightrain.depthmodel.network.model import DepthModel, make_model
from nightrain.depthmodel.network.pose import PoseNet
from nightrain.depthmodel.network.shared_weights import load_shared
from nightrain.depthmodel.roles.objective import SIDES, Batch, Objective, recorded_poses
from nightrain.depthmodel.roles.role import Option, Role, require
from nightrain.depthmodel.roles.start import require_same_parts
from nightrain.depthmodel.weights import Weights

SAME_AS_TEACHER = ("encoder", "decoder", "min_depth_m", "max_depth_m", "normalisation")


class StudentRole(Role):
    """Settings of a student.

    `teacher` is the teacher's model folder: its encoder is the frozen reference of the semantic
    loss unless `reference` names other weights for the student's own architecture (SSD: the
    pretrained DINOv2). `start` initialises the student as its model configuration says (SSD), or
    from the teacher. `target` "exact" learns a rendered world's exact depth instead of labels, an
    upper bound. The reliability mask needs neighbours and their poses: recorded ones, or those of
    the teacher's frozen pose network (SSD, eq. 4), which is in `pose` next to the teacher's model
    folder; the first `num_unmasked_epochs` train without it.
    """

    options: ClassVar[frozenset[Option]] = frozenset({"labels", "variants", "teacher"})
    teacher: Path | None = None
    reference: Weights | None = None
    start: Literal["configured", "teacher"] = "configured"
    target: Literal["labels", "exact"] = "labels"
    num_unmasked_epochs: Annotated[int, Field(ge=0)] = 1
    mask_poses: Literal["recorded", "teacher"] = "recorded"
    loss: StudentLoss = StudentLoss()

    @property
    def learns_labels(self) -> bool:
        """Whether labels are the target, and not a rendered world's exact depth."""
        return self.target == "labels"

    def check(self, model: DepthConfig, data: TrainingSetConfig) -> None:
        """Raise ValueError where targets, teacher, restoration or neighbours are missing."""
        if self.target == "labels":
            reason = "a student learns from labels; name their folder"
            require(data.labels is not None, "data.labels", reason)
        else:
            reason = "learning from the exact depth needs it"
            require(data.exact_depth, "data.exact_depth", reason)
        if self.start == "teacher":
            reason = "to start from a teacher, name its folder"
            require(self.teacher is not None, "role.teacher", reason)
        if self.loss.feature:
            reason = "only a network with restoration has a feature loss"
            require(model.restoration is not None, "role.loss.feature", reason)
        if self.loss.mask_mode != "none":
            reason = "the reliability mask needs the neighbouring frames"
            require(data.neighbours, "data.neighbours", reason)
        if self.uses_pose_network:
            reason = "the poses are those of the teacher's pose network; name the teacher's folder"
            require(self.teacher is not None, "role.mask_poses", reason)

    @property
    def uses_pose_network(self) -> bool:
        """Whether the mask takes its poses from the teacher's pose network."""
        return self.mask_poses == "teacher" and self.loss.mask_mode != "none"

    def check_labels(self, folder: str, labels: TableRows) -> None:
        """Raise InvalidRequest unless the labels were made by the teacher that the role names."""
        if self.teacher is None:
            return
        digest = saved_digest(self.teacher)
        made_by = set(labels.columns["teacher_sha256"].tolist())
        if made_by - {digest}:
            raise InvalidRequest(
                f"labels/{folder} are of the teacher {', '.join(sorted(made_by))}, but "
                f"{self.teacher} holds {digest}. Name the teacher that made the labels, or label "
                "again with `nightrain label`."
            )

    def objective(self, model: DepthConfig) -> "StudentObjective":
        """Build the student, initialised from the teacher where `start` says so."""
        follows = self.loss.semantic > 0 or self.loss.feature > 0
        student = StudentObjective(
            model, self, self._reference(model) if follows else None, self._pose_network()
        )
        if self.start == "teacher" and self.teacher is not None:
            teacher = DepthModel.from_pretrained(self.teacher)
            require_same_parts(teacher.config, model, SAME_AS_TEACHER, "To start from the teacher")
            load_shared(student.model, teacher.state_dict())
        return student

    def card_words(self, data: TrainingSetConfig) -> str:
        """Describe the training frames and the labels."""
        shown = ", ".join(data.conditions)
        return f"A student trained on {shown} frames and their variants; labels: {data.labels}."

    def _pose_network(self) -> PoseNet | None:
        """The teacher's frozen pose network, next to its model folder."""
        if not self.uses_pose_network or self.teacher is None:
            return None
        folder = self.teacher.parent / "pose"
        if not folder.is_dir():
            raise InvalidRequest(
                f"role.mask_poses is 'teacher', but {folder} does not exist: the teacher was "
                "trained with recorded poses. Name a teacher with a pose network, or set "
                "role.mask_poses to recorded."
            )
        return PoseNet.from_pretrained(folder)

    def _reference(self, model: DepthConfig) -> DepthModel:
        """The frozen network with the encoder that the semantic and the feature loss follow."""
        if self.reference is not None:
            encoder = model.encoder.model_copy(update={"pretrained": self.reference})
            with torch.random.fork_rng(devices=[]):  # the student's own start stays the same
                return make_model(model.model_copy(update={"encoder": encoder}))
        if self.teacher is None:
            raise InvalidRequest(
                "The semantic and the feature loss need a frozen encoder: name a teacher's folder "
                "or the reference's weights, or set loss.semantic and loss.feature to 0."
            )
        teacher = DepthModel.from_pretrained(self.teacher)
        purpose = "For the semantic and the feature loss"
        require_same_parts(teacher.config, model, ("encoder",), purpose)
        return teacher


class StudentObjective(Objective):
    """Masked distillation and the semantic loss (SSD, eq. 8, docs/papers/ssd.md).

    The teacher's depth comes from stored labels, also for the mask, so no teacher runs. `reference`
    is the frozen network with the encoder that the semantic loss follows.
    """

    def __init__(
        self,
        model: DepthConfig,
        role: StudentRole,
        reference: DepthModel | None,
        pose_network: PoseNet | None = None,
    ) -> None:
        super().__init__({"depth": make_model(model)})
        self.role = role
        # In a list, so that it is not a submodule: never trained, saved or set to training mode.
        self._frozen = [] if reference is None else [reference.eval().requires_grad_(False)]
        self._poser = [] if pose_network is None else [pose_network.eval().requires_grad_(False)]

    @property
    def reference(self) -> DepthModel | None:
        """Frozen network that computes the clear-day features; None if no loss needs it."""
        return self._frozen[0] if self._frozen else None

    def forward(self, batch: Batch, epoch: int) -> Loss:
        """Losses of a batch of clear frames and variants."""
        prediction = self.trained["depth"](batch["image"])
        clear_maps = self._clear_maps(batch)
        if self.role.target == "exact":
            known = (batch["exact_depth_m"] > 0).float()
            batch = batch | {"label_depth_m": batch["exact_depth_m"], "label_confidence": known}
        return student_loss(
            self.role.loss,
            batch,
            prediction.inverse_depth,
            mask=self._mask(batch, prediction.inverse_depth, epoch),
            features=prediction.features[-1] if prediction.features else None,
            frozen_features=None if clear_maps is None else clear_maps[-1],
            feature_error=self._feature_error(prediction.encoded, batch, clear_maps),
        )

    def _mask(self, batch: Batch, inverse_depth: torch.Tensor, epoch: int) -> torch.Tensor | None:
        mode = self.role.loss.mask_mode
        if mode == "none" or epoch < self.role.num_unmasked_epochs:
            return None
        over = self.role.loss.mask_over
        return reliable_pixels(batch, inverse_depth, self._poses(batch), mode, over)

    @torch.no_grad()
    def _poses(self, batch: Batch) -> Poses:
        """Poses of the clear frames' neighbours, for the mask."""
        if not self._poser:
            return recorded_poses(batch)
        target = batch["target"]
        network = self._poser[0].to(target.device)
        return {side: network(target, batch[side]) for side in SIDES}

    @torch.no_grad()
    def _clear_maps(self, batch: Batch) -> Maps | None:
        if self.reference is None:
            return None
        clear = batch["clear_image"]
        return self.reference.to(clear.device).encode(clear)

    def _feature_error(
        self, encoded: Maps, batch: Batch, clear_maps: Maps | None
    ) -> torch.Tensor | None:
        """Error of the restored features against the clear frame's, at a random step of the chain.

        The pair (clear, variant) of one frame gives the restoration a target, which IID-RDepth has
        not (section 7, docs/papers/iid_rdepth.md). It needs one frozen encoder for both.
        """
        model, restoration = self.model, self.model.restoration
        if not self.role.loss.feature or restoration is None or clear_maps is None:
            return None
        image = batch["image"]
        size = image.shape[2], image.shape[3]
        features = model.packed(encoded, size)
        target = model.packed(clear_maps, size)
        steps = torch.randint(1, restoration.config.effective_steps + 1, (len(image),))
        eps = torch.randn_like(restoration.standardise(features))
        estimate = restoration.estimate_from(features, target, steps.to(image.device), eps)
        return target_loss(estimate, target, restoration.std)
