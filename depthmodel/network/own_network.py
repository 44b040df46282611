"""Base class of a whole network of another package, in place of encoder and decoder."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from nightrain.datasets.errors import InvalidRequest
from nightrain.depthmodel.auxview.view import AuxImages
from nightrain.depthmodel.config import DepthConfig
from nightrain.depthmodel.decoders.base import Maps
from nightrain.depthmodel.network.model import DepthModel, DepthPrediction


class OwnNetwork(DepthModel, ABC):
    """Whole network of your own, named "package.module:Class" as `model.network`.

    It is constructed with the configuration and, by keyword, its `network_options`; call
    `super().__init__(config)` first. Encoder and decoder of the configuration are not built. Each
    of its modules is a group of parameters with a learning rate of that name. Checkpoints, model
    folders, labels and evaluations work as for the built-in network.
    """

    def __init__(self, config: DepthConfig) -> None:
        nn.Module.__init__(self)  # not DepthModel's, which builds encoder and decoder
        self.config, self.encoder_name = config, "random"
        self.frozen: tuple[str, ...] = ()
        self.restoration = self.auxview = None

    @abstractmethod
    def forward(
        self,
        image: torch.Tensor,
        aux: AuxImages | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> DepthPrediction:
        """Predict for images (B, 3, H, W), RGB in [0, 1], not normalised.

        Return `DepthPrediction(inverse_depth, features=(), encoded=())`; features are needed for
        the semantic loss alone.
        """

    def encode(self, image: torch.Tensor) -> Maps:
        """Features of an image (B, 3, H, W), for the semantic loss; override it for that."""
        raise InvalidRequest(
            f"The network {self.config.network} does not define encode, which the semantic loss "
            "needs. Define it, or set role.loss.semantic to 0."
        )
