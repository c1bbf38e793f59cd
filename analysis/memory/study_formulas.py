"""The study's formulas for GPU memory as printed, its worked example recomputed, and the errors in both."""

import math
from dataclasses import dataclass
from types import MappingProxyType

from analysis.claims.verdicts import ClaimResult
from analysis.report.document import Grid, Inline, Paragraph, Points, Section
from tunekit.memory import Shape, parameters

MIB, MB = 2**20, 10**6
FULL, ADAPTER = "16 N + d (34 b l h + 9 b a l^2 + 8 b l h')", "4 N + 16 N_adapter + 2 d (4 b l h + 8 b l h_adapter)"
EXAMPLE = Shape(
    model_type="bert", vocab_size=50_000, hidden_size=1920, intermediate_size=7680, num_hidden_layers=64,
    num_attention_heads=32, max_position_embeddings=512, type_vocab_size=2,
)  # fmt: skip
"""The model of the study's example. The study gives no positions and token types; those here are BERT's."""
H_ADAPTER = 120
ROUNDED_N = 3e9
"""The number of parameters N of the example, as the study rounds it."""
CLAIM = 0.75


@dataclass(frozen=True)
class Terms:
    """Bytes as a polynomial in batch b and length l."""

    constant: float
    bl: float
    bl2: float

    def at(self, batch: int, length: int) -> float:
        """Return the bytes at a batch and length."""
        return self.constant + batch * length * (self.bl + length * self.bl2)

    def activations(self, batch: int, length: int) -> float:
        """Return the bytes that grow with the batch."""
        return self.at(batch, length) - self.constant


def num_params(shape: Shape) -> int:
    """Return the study's N = v h + d (4 h^2 + 2 h h' + 4 h)."""
    h, inner = shape.hidden_size, shape.intermediate_size
    return shape.vocab_size * h + shape.num_hidden_layers * (4 * h * h + 2 * h * inner + 4 * h)


def num_adapter_params(shape: Shape, h_adapter: int) -> int:
    """Return the study's N_adapter = 4 d h h_adapter + 4 d h."""
    return 4 * shape.num_hidden_layers * shape.hidden_size * (h_adapter + 1)


def full(shape: Shape) -> Terms:
    """Return the study's formula of full fine-tuning."""
    d, h, inner = shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size
    return Terms(16 * num_params(shape), d * (34 * h + 8 * inner), 9 * d * shape.num_attention_heads)


def adapter(shape: Shape, h_adapter: int) -> Terms:
    """Return the study's formula of the adapter, which keeps nothing of the frozen backbone's activations."""
    constant = 4 * num_params(shape) + 16 * num_adapter_params(shape, h_adapter)
    return Terms(constant, 2 * shape.num_hidden_layers * (4 * shape.hidden_size + 8 * h_adapter), 0)


def adapter_with_backbone(shape: Shape, h_adapter: int) -> Terms:
    """Return the formula of the adapter with what the gradients through the frozen backbone need, by the study's rules.

    Only the inputs of frozen linear modules are not kept, which leaves d (b l (30 h + 4 h' + 16 h_adapter) + 9 b a l^2)
    bytes with one byte a mask.
    """
    d, h, inner = shape.num_hidden_layers, shape.hidden_size, shape.intermediate_size
    whole = full(shape)
    return Terms(adapter(shape, h_adapter).constant, d * (30 * h + 4 * inner + 16 * h_adapter), whole.bl2)


@dataclass(frozen=True)
class Printed:
    """A coefficient of the study's example, as printed in MiB, and its exact value in bytes."""

    name: str
    text: str
    exact: float

    @property
    def verdict(self) -> str:
        """Whether the printed digits are those of the exact value in MiB, in MB, or in neither."""
        if self._fits(self.exact / MIB):
            return "right"
        return "wrong: it is MB, not MiB" if self._fits(self.exact / MB) else "wrong"

    def _fits(self, value: float) -> bool:
        """Return whether ``value`` gives the printed text when it is rounded to as many digits."""
        digits = len(self.text.split("e")[0].replace(".", "").lstrip("0"))
        rounded = round(value, digits - 1 - math.floor(math.log10(value)))
        return math.isclose(rounded, float(self.text))


_FULL, _ADAPTER = full(EXAMPLE), adapter(EXAMPLE, H_ADAPTER)
PRINTED = (
    Printed("full, constant", "4.8e4", _FULL.constant),
    Printed("full, of b l^2", "1.84e-2", _FULL.bl2),
    Printed("full, of b l", "8.11", _FULL.bl),
    Printed("adapter, constant", "1.3e4", _ADAPTER.constant),
    Printed("adapter, of b l", "1.11", _ADAPTER.bl),
)
SAVING_AT = ((8, 128), (32, 128), (32, 512))
EXAMPLE_SIZES = MappingProxyType({"v": "5e4", "h": "1920", "h'": "7680", "d": "64", "a": "32", "h_adapter": "120"})


def study_sections(verdict: ClaimResult) -> list[Section]:
    """Return the formulas, the example, and the errors; ``verdict`` is that on the claim that 3/4 is saved."""
    sizes = ", ".join(f"{name} = {value}" for name, value in EXAMPLE_SIZES.items())
    formulas = Points(
        (
            f"full: {FULL}, with N = v h + d (4 h^2 + 2 h h' + 4 h)",
            f"adapter: {ADAPTER}, with N_adapter = 4 d h h_adapter + 4 d h",
        )
    )
    about = Paragraph(
        "Bytes in fp32 with AdamW: h hidden size, h' inner size, a heads, v vocabulary, d layers, b batch, l length."
    )
    head = ("coefficient", "printed (MiB)", "exact (MiB)", "exact (MB)", "verdict")
    rows: tuple[tuple[Inline, ...], ...] = tuple(
        (one.name, one.text, _digits(one.exact / MIB), _digits(one.exact / MB), one.verdict) for one in PRINTED
    )
    printed = Section("The study's example", (Paragraph(f"{sizes}."), Grid(head, rows)), "example")
    return [
        Section("The study's formulas", (about, formulas), "formulas"),
        printed,
        Section("What is wrong in them", (Points(_findings(verdict)), _savings()), "wrong"),
    ]


def _findings(verdict: ClaimResult) -> tuple[str, ...]:
    count = parameters(EXAMPLE, "adapter", {"reduction_factor": EXAMPLE.hidden_size // H_ADAPTER}, 2)
    backbone, own = count.backbone, count.added
    n, n_adapter = num_params(EXAMPLE), num_adapter_params(EXAMPLE, H_ADAPTER)
    right = adapter_with_backbone(EXAMPLE, H_ADAPTER)
    constant = 1 - _ADAPTER.constant / _FULL.constant
    return (
        f"4.8e4 is 16 x 3e9 bytes in MB: N is {n:,}, rounded up by {100 * (ROUNDED_N / n - 1):.1f} %.",
        f"N leaves out biases, positions, token types and the embeddings' norm: {100 * (n / backbone - 1):.2f} % of "
        f"{backbone:,} here; harmless.",
        f"N_adapter counts 2 h biases an adapter where there are h + h_adapter: {n_adapter:,} for {own:,} "
        f"({100 * (n_adapter / own - 1):+.1f} %).",
        "Full: 34 b l h + 8 b l h' + 9 b a l^2 is right for one-byte dropout masks. Its reason is not: softmax keeps "
        "no raw scores; the third l^2 term is the dropped probabilities.",
        "Adapter: the frozen backbone's activations are missing. A frozen linear module keeps no input, but gradients "
        f"cross it: of b l {_digits(right.bl / MIB)} MiB for {_digits(_ADAPTER.bl / MIB)}, and of b l^2 "
        f"{_digits(right.bl2 / MIB)} MiB for 0.",
        f"{verdict.text} Verdict: {verdict.verdict.value}. {verdict.reason}.",
        f"In the study's example the constant terms alone save {100 * constant:.1f} %, and with the backbone's "
        "activations the share falls as batch and length grow:",
    )


def _savings() -> Grid:
    head = ("b", "l", "saved by its formulas (%)", "with the backbone's activations (%)", "3/4 saved")
    rows: list[tuple[Inline, ...]] = []
    for batch, length in SAVING_AT:
        whole = _FULL.at(batch, length)
        claimed, right = (
            1 - terms.at(batch, length) / whole for terms in (_ADAPTER, adapter_with_backbone(EXAMPLE, H_ADAPTER))
        )
        verdict = "yes" if right >= CLAIM else "no"
        rows.append((str(batch), str(length), f"{100 * claimed:.1f}", f"{100 * right:.1f}", verdict))
    return Grid(head, tuple(rows))


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
