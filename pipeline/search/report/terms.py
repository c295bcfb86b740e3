"""What the figures and the fields of a search are called in its pictures and on its page."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.config import QUALITY
from pipeline.report import page


@dataclass(frozen=True)
class Term:
    """How a figure is named and read."""

    name: str
    symbol: str
    """In TeX, for pictures."""
    unit: str
    meaning: str
    """A sentence or two, for people who have not read the paper."""

    @property
    def axis(self) -> str:
        """The label of an axis."""
        symbol = f" {self.symbol}" if self.symbol else ""
        return f"{self.name}{symbol}" + (f" ({self.unit})" if self.unit else "")


_PER_SKETCH, _PER_ROW, _PER_DIMENSION = (
    "nats per sketch",
    "nats per row",
    "nats per latent dimension",
)

_TERMS = {
    "rate_nats": Term(
        "rate",
        r"$N_z\,L_\mathrm{KL}$",
        _PER_SKETCH,
        "How much the latent vector tells of a sketch. At 0 the decoder draws as if it had seen"
        " nothing; the more it is told, the less is z like the N(0, I) that new sketches are drawn"
        " from. Without the floor KL_min.",
    ),
    "distortion_nats": Term(
        "distortion",
        r"$N_\mathrm{max}\,L_R$",
        _PER_SKETCH,
        "What is left to tell of a sketch once z is known: the smaller, the nearer are"
        " reconstructions to what was drawn. A negative one is usual, because L_R is the log of a"
        " density.",
    ),
    "bound_nats": Term(
        "bound",
        "",
        _PER_SKETCH,
        "The negative evidence lower bound, which is rate and distortion together with the pen"
        " counted up to the end of a sketch. It means the same at every w_KL, M and N_z.",
    ),
    "objective": Term(
        "objective",
        r"$L_R + w_\mathrm{KL}\,\max(L_\mathrm{KL},\,\mathrm{KL}_\mathrm{min})$",
        "",
        "What training makes small, with w_KL at its final value.",
    ),
    "L_R": Term(
        "", r"$L_R$", _PER_ROW, "Reconstruction loss over the N_max rows of a sketch: L_s + L_p."
    ),
    "L_s": Term("", r"$L_s$", _PER_ROW, "The share of L_R that is of where the pen goes."),
    "L_p": Term("", r"$L_p$", _PER_ROW, "The share of L_R that is of the pen's state."),
    "L_KL": Term(
        "",
        r"$L_\mathrm{KL}$",
        _PER_DIMENSION,
        "Distance of the latent vectors' distribution from N(0, I), divided by N_z.",
    ),
}

_OF_DRAWINGS = {
    "recognised": Term(
        "share recognised", "", "", "The share that the recogniser takes for what it should be."
    ),
    "recognised_as_any": Term(
        "share recognised as any", "", "", "The share taken for one of the run's categories."
    ),
    "diversity": Term(
        "diversity", "", "", "Mean distance of two drawings, to the recogniser's eye."
    ),
    "frechet": Term(
        "Fréchet distance", "", "", "How far the drawings as a whole are from people's."
    ),
    "nearest_median": Term(
        "distance from training", "", "", "Median distance to the nearest training drawing."
    ),
    "near": Term(
        "share near training",
        "",
        "",
        "The share nearer to a training drawing than the nearest twentieth of people's are: copies"
        " raise it.",
    ),
}
"""Of what a model draws, as `pipeline.quality` measures it."""
_FIELDS = {
    "loss.w_KL": r"$w_\mathrm{KL}$",
    "loss.KL_min": r"$\mathrm{KL}_\mathrm{min}$",
    "loss.R": r"$R$",
    "model.M": r"$M$",
    "model.N_z": r"$N_z$",
}
_LONGEST = 24


def term_of(figure: str) -> Term:
    """Of a figure; one that is not known is named as it is."""
    if figure.startswith(QUALITY):
        _, drawings, chart = figure.split("/")
        kind, _, temperature = drawings.partition("_")
        term = _OF_DRAWINGS[chart]
        meaning = (
            f"{term.meaning} Drawn at the end of each trial, and compared with the valid split."
        )
        return replace(term, name=f"{term.name} ({kind}, τ = {temperature})", meaning=meaning)
    return _TERMS.get(figure, Term(in_picture(figure), "", "", ""))


def name_of(figure: str) -> str:
    """In running text."""
    return term_of(figure).name or figure


def short(field: str) -> str:
    """A field without its group."""
    return field.rpartition(".")[2]


def in_picture(field: str) -> str:
    """A field as a label of a picture, which reads dollars as TeX."""
    return _FIELDS.get(field) or short(field).replace("$", r"\$")


def in_picture_value(value: object) -> str:
    """A value as a label of a picture."""
    return show(value).replace("$", r"\$")


def show(value: object) -> str:
    """A value of a field or a figure; of a long text, its end."""
    if isinstance(value, (bool, int, float)):
        return page.show(value)
    text = "null" if value is None else str(value)
    return text if len(text) <= _LONGEST else f"…{text[-_LONGEST:]}"
