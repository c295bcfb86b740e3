from __future__ import annotations

import pytest
import torch

from sketch_model.recurrent import dropout, dropout_masks

WAYS = ["numba", "torch"]


@pytest.fixture(params=WAYS)
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "torch":
        monkeypatch.setattr(dropout, "_has_numba", lambda: False)


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize("probability", [0.1, 0.35])
def test_masks_have_the_right_share_scale_and_no_structure(probability: float) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = dropout_masks((50, 40, 101), probability, generator=generator)
    assert masks is not None
    kept = masks > 0
    assert abs(masks.mean().item() - 1.0) < 5e-3
    assert abs(kept.float().mean().item() - (1 - probability)) < 5e-3
    torch.testing.assert_close(
        masks[kept].max(), torch.tensor(1 / (1 - probability)), rtol=1e-4, atol=0
    )
    assert masks[kept].min() == masks[kept].max()
    for dim in range(3):  # a new mask at each step, sketch and unit: neighbours are independent
        centred = kept.float() - kept.float().mean()
        products = centred.narrow(dim, 1, kept.shape[dim] - 1) * centred.narrow(
            dim, 0, kept.shape[dim] - 1
        )
        assert abs(products.mean().item()) < 4 * probability * (1 - probability) / 400
    # Four numbers are cut out of one, next to each other or a quarter apart: each of the four
    # places must drop as often, and none must follow from another.
    flat = kept.flatten().float()
    for places in (flat.view(-1, 4).t(), flat.view(4, -1)):
        assert (places.mean(1) - (1 - probability)).abs().max() < 6e-3
        assert (torch.corrcoef(places) - torch.eye(4)).abs().max() < 0.02


@pytest.mark.usefixtures("_either_way")
def test_masks_follow_the_generator() -> None:
    draws = [
        dropout_masks((3, 2, 5), 0.5, generator=torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.usefixtures("_either_way")
def test_two_draws_of_a_generator_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (dropout_masks((9, 9, 9), 0.5, generator=generator) for _ in range(2))
    assert not torch.equal(first, second)


def test_no_dropout_has_no_masks() -> None:
    assert dropout_masks((3, 2, 5), 0.0) is None
