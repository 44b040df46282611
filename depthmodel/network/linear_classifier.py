"""Linear classifier: multinomial logistic regression on standardised features."""

from dataclasses import dataclass

import torch
from torch import nn

PENALTY = 1e-3  # on the squared weights
ITERATIONS = 200


@dataclass(frozen=True, slots=True)
class Classifier:
    """Fitted weights; features are standardised first."""

    mean: torch.Tensor  # (D,)
    deviation: torch.Tensor  # (D,)
    weight: torch.Tensor  # (C, D)
    bias: torch.Tensor  # (C,)

    def standardised(self, features: torch.Tensor) -> torch.Tensor:
        """Features (N, D) with mean 0 and deviation 1 on the pictures it was fitted on."""
        return (features - self.mean) / self.deviation

    def probabilities(self, features: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, C) of the classes."""
        return (self.standardised(features) @ self.weight.T + self.bias).softmax(1)


def fit_classifier(features: torch.Tensor, labels: torch.Tensor, num_classes: int) -> Classifier:
    """Fit multinomial logistic regression to features (N, D) by L-BFGS, deterministically."""
    width = features.shape[1]
    weight = torch.zeros(num_classes, width, requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    deviation = features.std(0).clamp_min(1e-4)
    inputs = (features - features.mean(0)) / deviation
    optimizer = torch.optim.LBFGS(
        [weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        found = nn.functional.cross_entropy(inputs @ weight.T + bias, labels)
        found = found + PENALTY * weight.square().sum()
        found.backward()
        return found

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return Classifier(features.mean(0), deviation, weight.detach(), bias.detach())
