"""Calibration of a completion network's scales on held-out places of a rendered world."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch

from nightrain.datasets.shards.parquet import Row
from nightrain.datasets.shards.rows import frame_from_row
from nightrain.depthmodel.completion.inputs import completion_inputs, log_depth, working_size
from nightrain.depthmodel.completion.network import CompletionNetwork
from nightrain.depthmodel.completion.simulated_lidar import KITTI, simulated_returns

SHARE_WITHIN = 0.632  # of a Laplace distribution's errors are within one scale


def calibrated_scale(network: CompletionNetwork, rows: Sequence[Row]) -> float:
    """Factor of the scales within which the share of a Laplace distribution's errors then is.

    The share is that of the errors of log depth on rows of frames with exact depth, under the
    recorded LiDAR and under KITTI's rings.
    """
    ratios = np.concatenate([*_ratios(network.eval(), rows)])
    return float(np.quantile(ratios, SHARE_WITHIN))


@torch.inference_mode()
def _ratios(network: CompletionNetwork, rows: Sequence[Row]) -> Iterator[np.ndarray]:
    """Errors over predicted scales of every 17th pixel of each frame and LiDAR."""
    for row in rows:
        frame = frame_from_row(row)
        exact_m, recorded_m, image = frame.exact_depth_m, frame.lidar_depth_m, frame.image.pixels()
        assert exact_m is not None
        assert recorded_m is not None
        size = working_size((image.shape[1], image.shape[0]))
        truth_m = cv2.resize(exact_m, size, interpolation=cv2.INTER_NEAREST)
        for sparse_m in (recorded_m, simulated_returns(exact_m, frame.intrinsics, KITTI)):
            tensor, planes = completion_inputs(image, sparse_m, size)
            output = network(tensor[None], planes[None])
            error = np.abs(output.log_depth[0, 0].numpy() - log_depth(truth_m))
            yield (error / output.scale[0, 0].numpy())[truth_m > 0][::17]
