"""One step and one validation, against computations of their own."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from torch.distributed import ReduceOp
from torch.optim.optimizer import register_optimizer_step_post_hook

from pipeline.config import Config, LearningRateScale, Precision, UserError
from pipeline.data.dataset import ShardedSketches
from pipeline.permutation import derive_key
from pipeline.results import data_spec
from pipeline.training.fit import fit
from pipeline.training.module import NotFinite, SketchModule
from sketch_model.config import Augmentation, Cell, Condition
from sketch_model.model import SketchRNN
from sketch_model.randomness import LATENT, keyed_normal
from tests.experiments import changed, new_store, read_csv, runs, score_in_numpy, tracked
from tests.numerics.sketch_rnn_numpy import kl_weight, learning_rate


@pytest.fixture
def recorded(config: Config, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tracked(config, new_store(tmp_path, tmp_path_factory))


def make_module(config: Config, *, step: int = 1) -> SketchModule:
    """A module with weights that matter, in the hands of a trainer that is one process."""
    train = ShardedSketches(config.manifest_path, "train")
    torch.manual_seed(1)
    module = SketchModule(config, SketchRNN(config.model, data_spec(config, train.manifest)), {})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    module._trainer = SimpleNamespace(  # type: ignore[assignment]
        global_step=step, global_rank=0, world_size=1
    )
    return module


def plain(config: Config, **loss: Any) -> Config:
    """Without dropout and augmentation: nothing is random but z."""
    config = changed(config, "train", augmentation=Augmentation(scale_factor=0, drop_probability=0))
    return changed(changed(config, "model", recurrent_dropout=0.0), "loss", **loss)


@pytest.mark.parametrize("step", [2, 3])
@pytest.mark.parametrize("KL_min", [0.0, 100.0])
@pytest.mark.parametrize("conditional", [True, False])
def test_the_loss_of_a_step_is_the_paper_s(
    config: Config, conditional: bool, KL_min: float, step: int
) -> None:
    """Eqs. 9 to 12, divided by N_max; over rows to N_max at every second step, and to ten after
    each sketch's end at the others."""
    config = changed(plain(config, KL_min=KL_min), "model", conditional=conditional)
    module = make_module(config, step=step)
    train = ShardedSketches(config.manifest_path, "train")
    rows, positions = np.array([3, 8, 1, 20]), np.array([70, 5, 11, 1000])
    packed = train.gather(rows, positions)
    loss = module.training_step(packed, 0)

    sketches = packed.sketches()
    noise = keyed_normal(config.train.seed, LATENT, torch.from_numpy(positions), 4).double().numpy()
    nats = [
        score_in_numpy(
            module.model,
            sketch,
            row if conditional else None,
            64 if step == 2 else min(len(sketch) + 11, 64),
        )
        for sketch, row in zip(sketches, noise, strict=True)
    ]
    mean = {name: np.mean([each[name] for each in nats]) for name in nats[0]}
    L_s, L_p, L_KL = mean["offsets"] / 64, mean["pen"] / 64, mean["kl"] / 4
    w = 0.5 - (0.5 - 0.5 * 0.02) * 0.9**step
    expected = {"L_s": L_s, "L_p": L_p, "L_R": L_s + L_p, "L_KL": L_KL}
    expected["loss"] = L_s + L_p + (w * max(L_KL, KL_min) if conditional else 0.0)
    assert {key: float(value) for key, value in module.figures.items()} == pytest.approx(
        expected, rel=1e-4
    )
    assert loss.item() == pytest.approx(expected["loss"], rel=1e-4)


EVERYTHING = {
    "encoder_cell": Cell.layer_norm,
    "decoder_cell": Cell.hyper,
    "hyper_size": 5,
    "hyper_embedding_size": 2,
    "condition": Condition.category,
    "category_embedding_size": 3,
}


def test_cells_categories_and_pen_weights_enter_the_loss_of_a_step(config: Config) -> None:
    config = changed(plain(config, pen_weights=[1.0, 10.0, 100.0]), "model", **EVERYTHING)
    module = make_module(config, step=3)
    train = ShardedSketches(config.manifest_path, "train")
    packed = train.gather(np.array([0, 1, len(train) - 1]), np.array([70, 5, 11]))
    categories = packed.categories.tolist()
    assert set(categories) == {0, 1}
    loss = module.training_step(packed, 0)

    noise = keyed_normal(config.train.seed, LATENT, packed.positions, 4).double().numpy()
    sketches = packed.sketches()
    nats = [
        score_in_numpy(
            *(module.model, sketch, row, min(len(sketch) + 11, 64), category),
            pen_weights=(1.0, 10.0, 100.0),
        )
        for sketch, row, category in zip(sketches, noise, categories, strict=True)
    ]
    mean = {name: np.mean([each[name] for each in nats]) for name in nats[0]}
    L_R, L_KL = (mean["offsets"] + mean["pen"]) / 64, mean["kl"] / 4
    w = 0.5 - (0.5 - 0.5 * 0.02) * 0.9**3
    assert loss.item() == pytest.approx(L_R + w * max(L_KL, config.loss.KL_min), rel=1e-4)
    assert float(module.figures["L_p"]) == pytest.approx(mean["pen"] / 64, rel=1e-4)


def test_bf16_is_of_the_products_and_of_nothing_else(config: Config) -> None:
    """Weights, what the optimizer keeps and the losses have all their digits."""
    config = changed(plain(config), "train", max_steps=2)
    run = fit(changed(config, "train", precision=Precision.bf16)).run
    content = torch.load(run.last_checkpoint, weights_only=True)
    assert {tensor.dtype for tensor in content["state_dict"].values()} == {torch.float32}
    moments = [state["exp_avg"] for state in content["optimizer_states"][0]["state"].values()]
    assert {tensor.dtype for tensor in moments} == {torch.float32}
    (line,), (exact,) = read_csv(run.curves), read_csv(fit(config).run.curves)
    for name in ("train/L_R", "valid/L_R"):
        assert line[name] != exact[name], "nothing was multiplied in bf16"
        assert float(line[name]) == pytest.approx(float(exact[name]), rel=0.02)


def test_randomness_is_keyed_by_seed_step_and_rank(config: Config) -> None:
    """G8: nothing of it needs saving, and no two steps or processes drop the same."""
    config = changed(config, "model", recurrent_dropout=0.5)
    packed = ShardedSketches(config.manifest_path, "train").gather(np.arange(5))

    def loss(seed: int = 0, step: int = 1, rank: int = 0) -> float:
        module = make_module(changed(config, "train", seed=seed), step=step)
        module.trainer.global_rank = rank  # type: ignore[misc]
        module.training_step(packed, 0)
        return float(module.figures["L_R"])  # which has no weight that depends on the step

    assert loss() == loss()
    others = {loss(), loss(seed=1), loss(step=3), loss(rank=1), loss(step=3, rank=1)}
    assert len(others) == 5


@pytest.mark.parametrize(
    ("own", "joint", "value", "gradient"),
    [
        (0.1, 0.1, 0.2, 0.0),
        (0.2, 0.2, 0.2, 0.0),
        (0.3, 0.3, 0.3, 1.0),
        (0.1, 0.3, 0.3, 1.0),  # other processes lift the mean above the floor
        (0.3, 0.1, 0.2, 0.0),
    ],
)
def test_the_floor_applies_to_the_joint_divergence(
    config: Config, own: float, joint: float, value: float, gradient: float
) -> None:
    module = make_module(changed(config, "loss", KL_min=0.2))
    share = torch.tensor(own, requires_grad=True)
    floored = module._floored(share, torch.tensor(joint))
    floored.backward()
    assert floored.item() == pytest.approx(value)
    assert share.grad is not None
    assert share.grad.item() == gradient


def test_weight_and_rate_of_every_step_follow_the_formulas(
    recorded: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Section 6 of the reference: both count the updates made before, from 0."""
    used: list[float] = []

    def note_rate(module: SketchModule, optimizer: torch.optim.Optimizer) -> None:
        used.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(SketchModule, "on_before_zero_grad", note_rate)
    config = changed(recorded, "train", min_learning_rate=0.002)
    fit(config)
    rates = [learning_rate(step, 0.01, 0.9, 0.002) for step in range(8)]
    assert used == pytest.approx(rates)
    (record,) = runs(config.tracking.uri)
    client = MlflowClient(config.tracking.uri)
    recorded_values = {
        name: {e.step: e.value for e in client.get_metric_history(record.info.run_id, name)}
        for name in ("train/learning_rate", "train/w", "train/epoch")
    }
    weights = [kl_weight(step, 0.5, 0.01, 0.9) for step in range(8)]  # eta_min is 0.01 / 0.5
    num_train = len(ShardedSketches(config.manifest_path, "train"))
    for name, values in (
        ("train/learning_rate", rates),
        ("train/w", weights),
        ("train/epoch", [10 * (step + 1) / num_train for step in range(8)]),
    ):
        expected = {step + 1: value for step, value in enumerate(values)}
        assert recorded_values[name] == pytest.approx(expected), name


@pytest.mark.parametrize(("scale", "factor"), [("sqrt", 0.5), ("linear", 0.25), ("none", 1.0)])
def test_the_whole_schedule_of_the_rate_follows_the_batch(
    config: Config, scale: str, factor: float
) -> None:
    """25 sketches are a quarter of the recipes' batch."""
    config = changed(
        config, "train", batch_size=25, scale_learning_rate=LearningRateScale(scale), decay=0.9
    )
    (optimizer,), (entry,) = make_module(config).configure_optimizers()
    schedule = entry["scheduler"]
    rates = [
        group["lr"] * schedule.lr_lambdas[0](step) / schedule.lr_lambdas[0](0)
        for group in optimizer.param_groups
        for step in range(3)
    ]
    train = config.train
    expected = [
        factor * learning_rate(step, train.learning_rate, 0.9, train.min_learning_rate)
        for step in range(3)
    ]
    assert rates == pytest.approx(expected)


def test_the_norm_of_the_gradient_is_clipped(config: Config) -> None:
    """Of the joint one: of all parts of a batch together."""
    bound, seen = 1e-3, []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        seen.append(torch.nn.utils.get_total_norm(gradients).item())

    handle = register_optimizer_step_post_hook(look)
    try:
        clipped = changed(config, "train", clip_value=0.0, clip_norm=bound, max_steps=2)
        fit(changed(clipped, "trainer", accumulate=2))
    finally:
        handle.remove()
    assert seen == pytest.approx([bound, bound], rel=1e-4)


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the loss is finite."""
    modules: list[SketchModule] = []

    def spoil(module: SketchModule, loss: torch.Tensor) -> None:
        if module.global_step == 3:
            modules.append(module)
            bias = module.model.decoder.output.bias
            bias.grad = torch.full_like(bias, float("nan"))

    monkeypatch.setattr(SketchModule, "on_before_backward", spoil)
    with pytest.raises(NotFinite, match=r"the gradient's norm is nan at step 3: .*clip_value"):
        fit(config)
    (module,) = modules
    assert all(parameter.isfinite().all() for parameter in module.parameters())
    assert module.batch is not None
    assert module.batch.num_sketches == config.train.batch_size


def test_all_processes_learn_that_one_is_asked_to_stop(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = ShardedSketches(config.manifest_path, "train").gather(np.arange(4))
    module = make_module(config)
    module.training_step(packed, 0)
    assert not module.stop_agreed
    module.stop_requested = True
    module.training_step(packed, 0)
    assert module.stop_agreed

    # As the sum is where another process asks.
    module.stop_requested = False
    monkeypatch.setattr(module, "_joint", lambda tensor, op: tensor + (op == ReduceOp.SUM))
    module.training_step(packed, 0)
    assert module.stop_agreed


def test_processes_must_go_on_from_one_step(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = make_module(config, step=6)
    module.on_train_start()
    monkeypatch.setattr(module, "_joint", lambda tensor, op: torch.tensor([0, 6]))
    with pytest.raises(UserError, match=r"different steps, 0 to 6: runs_dir=.* all machines see"):
        module.on_train_start()


def test_each_element_of_the_gradient_is_clipped(config: Config) -> None:
    """A bound on values, not on the norm; the norm is recorded as it was before."""
    bound, seen = 1e-3, []

    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        seen.append(torch.cat([gradient.flatten() for gradient in gradients]).abs())

    handle = register_optimizer_step_post_hook(look)
    try:
        fit(changed(config, "train", clip_value=bound, max_steps=2))
    finally:
        handle.remove()
    for gradient in seen:
        assert gradient.max().item() == pytest.approx(bound)
        assert (gradient == gradient.max()).sum() > 10
        assert 0 < gradient[gradient > 0].min().item() < bound / 10


@pytest.mark.parametrize(
    "changes",
    [{}, {"conditional": False}, EVERYTHING],
    ids=["conditional", "decoder-only", "everything"],
)
def test_validation_figures_are_exact_means_over_every_drawing(
    config: Config, changes: dict[str, Any]
) -> None:
    """Though the last batch is short; and the objective has w_KL at its final value, and pen states
    that all count alike, whatever is trained on."""
    config = changed(changed(config, "model", **changes), "loss", pen_weights=[1.0, 10.0, 100.0])
    conditional = config.model.conditional
    run = fit(changed(config, "train", max_steps=2)).run
    valid = ShardedSketches(config.manifest_path, "valid")
    assert len(valid) % config.evaluate.batch_size != 0
    model = SketchRNN(config.model, data_spec(config, valid.manifest))
    weights = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in weights.items()})

    rows = torch.arange(len(valid))
    noise = keyed_normal(derive_key(config.train.seed, 2), LATENT, rows, 4).double().numpy()
    packed = valid.gather(rows.numpy())
    nats = [
        score_in_numpy(model, sketch, row if conditional else None, category=category)
        for sketch, row, category in zip(
            packed.sketches(), noise, packed.categories.tolist(), strict=True
        )
    ]
    mean = {name: np.mean([each[name] for each in nats]) for name in nats[0]}
    L_s, L_p, L_KL = mean["offsets"] / 64, mean["pen"] / 64, mean["kl"] / 4
    expected = {
        "valid/L_R": L_s + L_p,
        "valid/L_s": L_s,
        "valid/L_p": L_p,
        "valid/L_KL": L_KL,
        "valid/bound_nats": mean["offsets"] + mean["pen_to_end"] + mean["kl"],
        "valid/objective": L_s + L_p + (0.5 * max(L_KL, 0.01) if conditional else 0.0),
    }
    (line,) = read_csv(run.curves)
    assert {name: float(line[name]) for name in expected} == pytest.approx(expected, rel=1e-4)
