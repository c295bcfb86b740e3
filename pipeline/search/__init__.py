"""The search for the values of a config's fields that give the best models.

space (space.py) -> Tuner (tuner.py) -> trials (trial.py: training.fit) -> outcome (outcome.py)
                                                    -> table, pictures, page, MLflow's parent run
"""
