"""How far drawings lie apart.

Shapes: N and K drawings, D numbers that stand for one.
"""

from __future__ import annotations

import torch

from sketch_model.annotations import Float, Int, Tensor

_CHUNK = 500


def frechet_distance(first: Float[Tensor, "N D"], second: Float[Tensor, "K D"]) -> float:
    """Squared Frechet distance of the Gaussians that fit two clouds (Dowson & Landau 1982).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), as Heusel et al. (2017) compare pictures. Fewer
    drawings give greater distances, also between clouds that are drawn from one distribution: only
    distances of equally many compare.

    Args:
        first: at least 2 rows.
        second: at least 2 rows.
    """
    first, second = first.double(), second.double()
    covariance, other = torch.cov(first.T), torch.cov(second.T)
    # The eigenvalues of S1 S2 are those of the symmetric S1^(1/2) S2 S1^(1/2).
    values, vectors = torch.linalg.eigh(covariance)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    of_product = torch.linalg.eigvalsh(root @ other @ root).clamp(min=0)
    between_means = (first.mean(dim=0) - second.mean(dim=0)).square().sum()
    spread = covariance.trace() + other.trace() - 2 * of_product.sqrt().sum()
    return float(between_means + spread)


def mean_pairwise_distance(embedding: Float[Tensor, "N D"]) -> float:
    """Mean Euclidean distance over all pairs of two drawings; N is at least 2."""
    return float(torch.pdist(embedding.double()).mean())


def nearest(
    embedding: Float[Tensor, "N D"], others: Float[Tensor, "K D"]
) -> tuple[Float[Tensor, " N"], Int[Tensor, " N"]]:
    """Euclidean distance from each drawing to the nearest of `others`, and which that is.

    By products: a distance is off by about a thousandth of the vectors' length.
    """
    found = [torch.cdist(chunk, others).min(dim=1) for chunk in torch.split(embedding, _CHUNK)]
    distances, indices = zip(*found, strict=True)
    return torch.cat(distances), torch.cat(indices)
