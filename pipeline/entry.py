"""How a command starts: Hydra composes, `loading.load` checks, errors are for people."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from pipeline.config import Config, UserError, ending_at_user_errors
from pipeline.loading import explain, load

CONF = Path(__file__).parents[1] / "conf"
ConfigStore.instance().store(name="schema", node=Config)

OF_AN_ENCODER = (
    "model.N_z",
    "model.encoder_",
    "loss.w_KL",
    "loss.eta_min",
    "loss.R",
    "loss.KL_min",
)
"""Beginnings of the fields that a model without encoder does not read. Presets state them."""


def compose(overrides: list[str]) -> Config:
    """The config that the command line `overrides` would give.

    Raises:
        UserError: naming the field or the choice that does not exist, and those that do; or the
            override that would not be read.
    """
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        try:
            config = load(hydra.compose("config", overrides))
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(_explain_composition(error)) from error
    for override in overrides:
        if not config.model.conditional and override.startswith(OF_AN_ENCODER):
            raise UserError(
                f"{override} is not read: model.conditional=false has no encoder and no latent"
                " vector. Leave it out"
            )
    return config


def command(run: Callable[[Config], None]) -> Callable[[], None]:
    """Makes `run` a command line program with Hydra's overrides and flags.

    A `UserError` ends it with exit code 1 and one message, without a traceback.
    """

    @functools.wraps(run)
    def job(composed: DictConfig) -> None:
        with ending_at_user_errors():  # inside Hydra, which would print a traceback
            run(load(composed))

    def main() -> None:
        with ending_at_user_errors():
            _check_overrides(sys.argv[1:])
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(job)()

    return main


def _check_overrides(arguments: list[str]) -> None:
    """Composes once before Hydra does, because Hydra does not list the fields there are."""
    flags = {argument for argument in arguments if argument.startswith("-")}
    if flags:  # --help, --cfg, --multirun: Hydra's own business
        return
    GlobalHydra.instance().clear()
    compose([argument for argument in arguments if not argument.startswith("hydra")])


def _explain_composition(error: BaseException) -> str:
    cause = error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException):
        return explain(cause)
    if isinstance(error, OmegaConfBaseException):
        return explain(error)
    message = str(error).split("Config search path")[0]
    return " ".join(line.strip() for line in message.splitlines() if line.strip())
