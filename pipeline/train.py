"""`python -m pipeline.train +experiment=NAME`: a trained model, its curves and its MLflow run.

The same command goes on with a run that was interrupted; with a larger train.max_steps it trains a
finished run further.
"""

from __future__ import annotations

from pipeline.config import Config
from pipeline.entry import command
from pipeline.importing import importing

_ALIAS = "challenger"
"""MLflow's word for a model that has not been compared yet."""


def train(config: Config) -> None:
    """Trains, publishes the best model, and says where everything is."""
    with importing():  # torch and Lightning: not needed to print --help
        from pipeline.registration import register
        from pipeline.tracking import redact
        from pipeline.training.fit import fit

    result = fit(config)
    if not result.is_rank_zero:
        return
    run = result.run
    training = result.publish(config)
    register(config, training, _ALIAS)
    objective = training["validation"]["objective"]
    verb = "was finished already" if result.was_finished else "is done"
    tracked = run.mlflow_run_id
    print(
        f"training {verb}: {training['num_steps']} steps, best objective {objective:.4f} at step"
        f" {training['best_step']}\n"
        f"model     {config.model_dir}\n"
        f"curves    {config.curves_path}\n"
        f"run       {training['run_folder']}\n"
        + (f"MLflow    {tracked} in {redact(config.tracking.uri)}\n" if tracked else "")
        + (f"          models:/{config.name}@{_ALIAS}" if tracked else "")
    )


main = command(train)

if __name__ == "__main__":
    main()
