"""What users write and mistype: defaults, shipped experiments, and errors that show the way out."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import MISSING, OmegaConf

from pipeline.config import (
    Config,
    Precision,
    Source,
    SourceConfig,
    UserError,
    check_category,
)
from pipeline.entry import CONF, compose
from pipeline.identity import fingerprint, flatten, to_dict
from sketch_model.config import Cell, Condition, DataSpec, ModelConfig
from sketch_model.model import SketchRNN

EXPERIMENTS = sorted(
    path.relative_to(CONF / "experiment").with_suffix("").as_posix()
    for path in (CONF / "experiment").rglob("*.yaml")
)
TABLE_1 = {  # Ha & Eck 2017, table 1
    "cat": ["cat"],
    "pig": ["pig"],
    "cat_pig": ["cat", "pig"],
    "crab_face_pig_rabbit": ["crab", "face", "pig", "rabbit"],
    "face": ["face"],
    "firetruck": ["firetruck"],
    "garden": ["garden"],
    "owl": ["owl"],
    "mosquito": ["mosquito"],
    "yoga": ["yoga"],
}


def yaml(path: str) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(CONF / path), resolve=False)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


def defaults(schema: type) -> dict[str, Any]:
    """Every field of a dataclass with its default, as a config file states it."""
    return to_dict(schema(name=Source.local) if schema is SourceConfig else schema())


def test_the_primary_config_and_its_recipe_state_every_default_and_no_other_value() -> None:
    """Each of them in one of the two places."""
    primary, recipe = yaml("config.yaml"), yaml("recipe/magenta.yaml")
    for group in ("loss", "train"):
        assert not primary[group].keys() & recipe[group].keys()
    stated = primary | {group: primary[group] | recipe.pop(group) for group in ("loss", "train")}
    stated["trainer"] = yaml("trainer/single.yaml")
    assert recipe == {}
    for group in ("defaults", "hydra", "data_dir", "results_dir"):  # composition, and addresses
        del stated[group]
    blank = Config(name="x", categories=["x"], source=SourceConfig(name=Source.local))
    unstated = {"name", "categories", "source", "model", "data_dir", "results_dir"}
    expected = {key: value for key, value in to_dict(blank).items() if key not in unstated}
    # An option that only an unusual command line needs may be left to the schema.
    assert expected.pop("restart_if_code_changed") is False
    assert stated == expected


def test_the_base_model_states_the_defaults_of_the_reference() -> None:
    assert yaml("model/base.yaml") == defaults(ModelConfig)


@pytest.mark.parametrize("model", [path.stem for path in (CONF / "model").glob("*.yaml")])
def test_every_model_is_valid_with_every_recipe(model: str) -> None:
    """And states all that there is, so that the next choice of a model leaves nothing of it."""
    assert yaml(f"model/{model}.yaml").keys() == defaults(ModelConfig).keys()
    for path in (CONF / "recipe").glob("*.yaml"):
        config = compose(["+experiment=table1_cat", f"model={model}", f"recipe={path.stem}"])
        assert to_dict(config.model) == yaml(f"model/{model}.yaml")


def test_the_paper_s_model_has_the_paper_s_sizes() -> None:
    config = compose(["+experiment=table1_cat", "model=paper"]).model
    assert (config.encoder_cell, config.encoder_size) == (Cell.lstm, 512)
    assert (config.decoder_cell, config.decoder_size) == (Cell.hyper, 2048)
    assert (config.M, config.N_z) == (20, 128)
    data = DataSpec(offset_scale=1.0, N_max=250, categories=("cat",), source="quickdraw")
    with torch.device("meta"):
        num_parameters = sum(p.numel() for p in SketchRNN(config, data).parameters())
    assert f"{num_parameters:,} parameters" in (CONF / "model/paper.yaml").read_text()


RECIPES: dict[str, dict[str, Any]] = {
    "magenta": {
        "w_KL": 0.5,
        "eta_min": 0.01 / 0.5,  # kl_weight_start / kl_weight
        "R": 0.99995,
        "KL_min": 0.2,
        "learning_rate": 1e-3,
        "decay": 0.9999,
        "min_learning_rate": 1e-5,
        "clip_value": 1.0,
        "clip_norm": 0.0,
        "augmentation": {"scale_factor": 0.15, "drop_probability": 0.1},
    },
    "paper": {
        "w_KL": 1.0,
        "eta_min": 0.0,
        "R": 0.99999,
        "KL_min": 0.2,
        "learning_rate": 1e-4,
        "decay": 1.0,
        "min_learning_rate": 1e-4,
        "clip_value": 1.0,
        "clip_norm": 0.0,
        "augmentation": {"scale_factor": 0.1, "drop_probability": 0.0},
    },
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_what_it_is_named_after(recipe: str) -> None:
    assert {path.stem for path in (CONF / "recipe").glob("*.yaml")} == RECIPES.keys()
    stated = yaml(f"recipe/{recipe}.yaml")
    assert stated.keys() == {"loss", "train"}
    assert stated["loss"] | stated["train"] == RECIPES[recipe], "a recipe leaves nothing of another"
    config = compose(["+experiment=table1_cat", f"recipe={recipe}"])
    composed = to_dict(config.loss) | to_dict(config.train)
    assert {name: composed[name] for name in RECIPES[recipe]} == RECIPES[recipe]


def test_an_experiment_s_own_values_win_over_a_recipe_and_the_command_line_over_both() -> None:
    config = compose(["+experiment=single_class", "recipe=paper", "train.decay=0.5"])
    own = yaml("experiment/single_class.yaml")
    assert config.train.learning_rate == own["train"]["learning_rate"]
    assert config.loss.w_KL == own["loss"]["w_KL"]
    assert config.train.augmentation.scale_factor == 0.1
    assert config.train.decay == 0.5


@pytest.mark.parametrize("cell", list(Cell))
def test_cells_and_the_condition_are_chosen_on_the_command_line(cell: Cell) -> None:
    typed = [f"model.encoder_cell={cell}", f"model.decoder_cell={cell}", "model.condition=category"]
    config = compose(["+experiment=smoke", *typed]).model
    assert (config.encoder_cell, config.decoder_cell) == (cell, cell)
    assert config.condition is Condition.category


@pytest.mark.parametrize(
    ("typed", "precision"),
    [("32", Precision.fp32), ("fp32", Precision.fp32), ("bf16", Precision.bf16)],
)
def test_precision_may_be_typed_as_a_number(typed: str, precision: Precision) -> None:
    assert compose(["+experiment=smoke", f"train.precision={typed}"]).train.precision is precision


@pytest.mark.parametrize("group", ["model", "source"])
def test_groups_state_only_fields(group: str) -> None:
    schema = {"model": ModelConfig, "source": SourceConfig}[group]
    for path in (CONF / group).glob("*.yaml"):
        assert yaml(f"{group}/{path.name}").keys() <= {field.name for field in fields(schema)}


@pytest.mark.parametrize("source", list(Source))
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_is_valid_for_every_source(experiment: str, source: Source) -> None:
    config = compose([f"+experiment={experiment}", f"source={source}"])
    assert config.source.name is source
    assert config.name == Path(experiment).name, "results and manifests are found by this name"
    assert config.data_dir == f"data/{source}"
    assert config.manifest_path == Path(f"data/{source}/manifests/{config.name}.json")
    assert Path(config.results_dir) == Path(f"results/{source}/{config.name}")


def test_the_paper_s_table_1_is_there() -> None:
    found = {
        name.removeprefix("table1_"): compose([f"+experiment={name}"]).categories
        for name in EXPERIMENTS
        if name.startswith("table1_")
    }
    assert found == TABLE_1
    assert {"single_class", "multiclass", "decoder_only", "smoke"} <= set(EXPERIMENTS)
    assert not compose(["+experiment=decoder_only"]).model.conditional


def test_an_override_wins_over_experiment_group_and_default() -> None:
    config = compose(
        ["+experiment=smoke", "model=base", "model.M=7", "train.pool=3", "source.num_drawings=9"]
    )
    assert config.model == ModelConfig(M=7)
    assert (config.train.pool, config.source.num_drawings) == (3, 9)
    assert config.train.batch_size == yaml("experiment/smoke.yaml")["train"]["batch_size"]


MISTAKES = {
    # What is typed, and what the message must name: the field or value, and the way out.
    "model.N_zz=3": ["model.N_zz", "did you mean model.N_z?", "decoder_size"],
    "trin.seed=1": ["trin is not a field", "did you mean train?", "tracking"],
    "train.learning_rte=1": ["did you mean train.learning_rate?", "min_learning_rate"],
    "train.augmentation.scale=1": ["did you mean train.augmentation.scale_factor?"],
    "+foo=1": ["foo is not a field", "categories", "restart_if_code_changed"],
    "+train.foo=1": ["train.foo is not a field", "batch_size"],
    "seed=1": ["seed is not a field", "train"],
    "model=huge": ["model/huge", "base paper small tiny"],
    "recipe=mine": ["recipe/mine", "magenta paper"],
    "source=web": ["source/web", "doodles local quickdraw"],
    "source.name=web": ["source.name", "'web'", "doodles, local, quickdraw"],
    "+experiment=smok": ["experiment/smok", "multiclass", "smoke"],
    "experiment=smoke": ["use +experiment=smoke"],
    "model.decoder_cell=gru": ["model.decoder_cell", "'gru'", "[lstm, layer_norm, hyper]"],
    "model.M=0": ["model.M=0", "at least 1"],
    "model.N_z=0": ["model.N_z=0", "at least 1"],
    "model.hyper_size=64": ["model.hyper_size=64 is not read", "model.decoder_cell=hyper"],
    "model.category_embedding_size=8": ["is not read", "set model.condition=category"],
    "model.condition=mood": ["model.condition", "'mood'", "[none, category]"],
    "model.M=many": ["model.M", "'many'", "Integer"],
    "model.conditional=maybe": ["model.conditional", "maybe", "bool"],
    "model.recurrent_dropout=1": ["model.recurrent_dropout=1.0", "[0, 1)", "not of keeping"],
    "model.input_dropout=1": ["model.input_dropout=1.0", "[0, 1)"],
    "loss.pen_weights=[1,10]": ["loss.pen_weights=[1.0, 10.0]", "three", "[1,1,1]"],
    "loss.pen_weights=[1,-1,1]": ["loss.pen_weights=[1.0, -1.0, 1.0]", "at least 0"],
    "loss.pen_weights=[0,0,0]": ["loss.pen_weights=[0.0, 0.0, 0.0]", "not all of them 0"],
    "loss.pen_weights=[1,inf,1]": ["loss.pen_weights=[1.0, inf, 1.0]", "finite"],
    "loss.pen_weights=10": ["loss.pen_weights", "list"],
    "train.precision=fp8": ["train.precision", "'fp8'", "[fp32, bf16, fp16]"],
    "train.precision=64": ["train.precision", "'64'", "[fp32, bf16, fp16]"],
    "loss.eta_min=2": ["loss.eta_min=2.0", "between 0.0 and 1.0"],
    "loss.w_KL=-1": ["loss.w_KL=-1.0", "at least 0"],
    "loss.R=nan": ["loss.R=nan", "between 0.0 and 1.0"],
    "train.seed=1.5": ["train.seed", "1.5", "Integer"],
    "train.batch_size=null": ["train.batch_size", "not Optional"],
    "train.learning_rate=0": ["train.learning_rate=0.0", "above 0"],
    "train.learning_rate=nan": ["train.learning_rate=nan", "above 0"],
    "train.min_learning_rate=1": ["train.min_learning_rate=1.0", "between 0.0 and 0.001"],
    "train.max_steps=15 train.validate_every=10": ["max_steps=15", "=10", "20 steps"],
    "train.batch_size=20 trainer.num_processes=3": ["train.batch_size=20", "num_processes=3"],
    "ingest.N_max=1": ["ingest.N_max=1", "at least 2"],
    "ingest.fractions=[0.5,0.5]": ["ingest.fractions=[0.5, 0.5]", "add up to 1"],
    "ingest.fractions=[0,0.5,0.5]": ["train share above 0"],
    "ingest.fractions=[nan,0.5,0.5]": ["ingest.fractions=[nan, 0.5, 0.5]", "add up to 1"],
    "ingest.fractions=[1,0,a]": ["ingest.fractions[2]", "'a'", "Float"],
    "ingest.shard_rows=5": ["ingest.shard_rows=5", "at least 4096"],
    "tracking.log_every=0": ["tracking.log_every=0", "at least 1"],
    "categories=cat": ["categories", "list"],
    "categories=[]": ["categories=[]", "at least one"],
    "categories=[cat,cat]": ["'cat', 'cat'", "once"],
    "categories=[../../x]": ["'../../x'", "cannot name a folder"],
    "name=../x": ["name='../x'", "cannot name files"],
    "name=''": ["name=''", "cannot name files"],
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_named_with_its_choices(typed: str) -> None:
    overrides = typed.split(" ")
    if not typed.startswith(("+experiment", "experiment")):
        overrides.insert(0, "+experiment=smoke")
    with pytest.raises(UserError) as caught:
        compose(overrides)
    message = str(caught.value)
    assert "\n" not in message
    for part in MISTAKES[typed]:
        assert part in message


@pytest.mark.parametrize("overrides", [[], ["name=x"], ["categories=[cat]"]])
def test_no_experiment_is_an_error_that_says_how_to_choose_one(overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"\+experiment=NAME"):
        compose(overrides)


@pytest.mark.parametrize(
    "good", ["cat", "The Eiffel Tower", "t-shirt", "dog's house", "猫", "x" * 100]
)
def test_names_of_categories_may_be_what_quick_draw_has(good: str) -> None:
    assert check_category(good) == good


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "../x", "a/b", "a\\b", "_x", " cat", "cat.", "a\nb", "x" * 101]
)
def test_names_that_could_leave_the_folder_are_refused(bad: str) -> None:
    with pytest.raises(UserError, match="cannot name a folder"):
        check_category(bad)


def test_a_fingerprint_depends_on_content_and_not_on_order() -> None:
    assert fingerprint({"a": 1, "b": {"c": [2, 3]}}) == fingerprint({"b": {"c": [2, 3]}, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_flattening_names_every_field_of_a_config() -> None:
    flat = flatten(to_dict(compose(["+experiment=smoke"])))
    assert flat["train.augmentation.scale_factor"] == 0.15
    assert flat["source.name"] == "doodles"
    assert not any(isinstance(value, dict) and value for value in flat.values())

    def leaves(schema: Any) -> int:
        return sum(
            leaves(getattr(schema, field.name)) if is_dataclass(getattr(schema, field.name)) else 1
            for field in fields(schema)
        )

    assert len(flat) == leaves(compose(["+experiment=smoke"]))
    assert MISSING not in flat.values()


@pytest.mark.parametrize(
    ("ignored", "message"),
    [
        ({"name": Source.doodles, "root": "somewhere"}, "source.root='somewhere'"),
        ({"name": Source.local, "root": "somewhere", "num_drawings": 5}, "num_drawings=5"),
        ({"name": Source.quickdraw, "seed": 3}, "source.seed=3"),
    ],
)
def test_what_a_source_would_ignore_is_refused(ignored: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        SourceConfig(**ignored)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["source.format=raw"], "source.format=raw is not what source=doodles generates"),
        (["source=local", "source.quantum=0.5"], "source.quantum=0.5 is for source.format=npz"),
        (["source=local", "ingest.splits=own"], "ingest.splits=own needs source.format=npz"),
        (["ray_address=1.2.3.4:6379"], "ray_address=1.2.3.4:6379 is not read by engine=local"),
        (
            ["ingest.splits=paper", "ingest.fractions=[0.8,0.1,0.1]"],
            "ingest.fractions=[0.8, 0.1, 0.1] is not read by ingest.splits=paper",
        ),
        (["ingest.countries=[de]"], "two-letter codes in capitals"),
        (["ingest.limit=-1"], "ingest.limit"),
        (["ingest.part_bytes=0"], "ingest.part_bytes"),
        (["num_workers=-2"], "num_workers"),
        (["engine=spark"], "engine"),
    ],
)
def test_options_that_do_not_go_together_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        compose(["+experiment=smoke", *overrides])
    assert message in str(caught.value)


def test_shards_lie_in_the_data_folder_unless_said_otherwise() -> None:
    assert compose(["+experiment=smoke"]).shards_location == "data/doodles/shards"
    assert compose(["+experiment=smoke", "data_dir=/x"]).shards_location == "/x/shards"
    assert compose(["+experiment=smoke", "shards_dir=gs://b/s"]).shards_location == "gs://b/s"


@pytest.mark.parametrize(
    "override", ["model.N_z=32", "model.encoder_size=64", "model.encoder_cell=hyper", "loss.R=0.9"]
)
def test_an_option_of_the_encoder_is_refused_where_there_is_none(override: str) -> None:
    source = "source=doodles"
    with pytest.raises(UserError, match=rf"{override} is not read: model\.conditional=false"):
        compose(["+experiment=decoder_only", source, override])
    assert not compose(["+experiment=decoder_only", source, "model.M=5"]).model.conditional
