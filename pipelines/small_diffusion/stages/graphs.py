"""CUDA graph of a training step: one launch instead of thousands.

The kernels of small networks take less time than launching them one by one from Python. A graph
records them once and replays them on new inputs in the same memory.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch

Tensors = Mapping[str, torch.Tensor]
WARM_UP_STEPS = 5  # steps before the recording: libraries choose their kernels and workspaces


class GraphedStep:
    """Training step that is recorded after a warm-up; on a CPU it is never recorded.

    `step` must do the same work in each call, with inputs of the same shapes, and use no numbers of
    the host that change. If the recording fails, the reason is printed and steps stay as they were.
    """

    def __init__(self, step: Callable[[Tensors], Tensors], device: torch.device) -> None:
        self._step = step
        self._warm_up = WARM_UP_STEPS if device.type == "cuda" else None  # None: do not record
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: dict[str, torch.Tensor] = {}
        self._outputs: Tensors = {}

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Context in which the whole stage must run; work before and after it keeps its order."""
        if self._stream is None:
            yield
            return
        outside = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(outside)
        with torch.cuda.stream(self._stream):
            yield
        outside.wait_stream(self._stream)

    def __call__(self, inputs: Tensors) -> Tensors:
        """Run the step; the outputs are overwritten by the next call."""
        if self._graph is not None:
            for name, tensor in inputs.items():
                self._inputs[name].copy_(tensor)
            self._graph.replay()
            return self._outputs
        if self._warm_up is None:
            return self._step(inputs)
        if self._warm_up == 0:
            return self._record(inputs)
        self._warm_up -= 1
        return self._step(inputs)

    def _record(self, inputs: Tensors) -> Tensors:
        self._warm_up = None
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                self._outputs = self._step(self._inputs)
        except RuntimeError as error:
            print(f"steps are not recorded as a CUDA graph: {error}", flush=True)
            return self._step(inputs)
        self._graph = graph
        graph.replay()
        return self._outputs
