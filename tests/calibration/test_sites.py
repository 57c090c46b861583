"""Where activations are recorded follows from what the layers are made of."""

from pathlib import Path

from dawn_calibration.checkpoints import load_model, open_checkpoint
from dawn_calibration.ranges.report import draw_ranges, report_text
from dawn_calibration.ranges.sites import sites_of
from dawn_export.quantization.smoothing import folded
from dawn_models import read_config
from support.families import MIXED, registered, write_sample
from support.small_ranges import SHORT, found

MODELS = Path(__file__).parent.parent.parent / "models"


def test_the_sites_of_a_layer_are_what_its_products_read() -> None:
    _, config = read_config(MODELS / "tiny-dream")
    first = [site for site in sites_of(config) if site.layer == 0]
    assert [(site.kind, site.smoothed) for site in first] == [
        ("attention_norm", True),
        ("o_proj", False),
        ("mlp_norm", True),
        ("down_proj", False),
    ]
    assert first[0].linears == ("layers.0.q_proj", "layers.0.k_proj", "layers.0.v_proj")
    assert first[2].linears == ("layers.0.gate_proj", "layers.0.up_proj")
    widths = [config.hidden_size, config.query_size, config.hidden_size, config.intermediate_size]
    assert [site.width for site in first] == widths


def test_sites_of_layers_that_differ_have_their_own_widths(tmp_path: Path) -> None:
    with registered():
        checkpoint = open_checkpoint(write_sample(tmp_path / "checkpoint", MIXED))
    sites = sites_of(checkpoint.config)
    widths = {site.layer: site.width for site in sites if site.kind == "down_proj"}
    assert widths == {0: 128, 1: 192, 2: 128}
    model = load_model(checkpoint)
    for site in sites:
        for linear in site.linears:
            assert model.get_parameter(f"{linear}.weight").shape[1] == site.width


def test_a_model_with_norms_of_queries_and_keys_is_calibrated_and_smoothed(tmp_path: Path) -> None:
    with registered():
        source = write_sample(tmp_path / "checkpoint", MIXED)
        result = found(source, tmp_path)
        config = open_checkpoint(source).config
    calibration = result.calibration
    assert len(calibration.ranges) == 3 * 7
    assert not any("q_norm" in name or "k_norm" in name for name in calibration.smoothing)
    factors = folded(calibration, config)
    assert factors["layers.1.q_proj.weight"] is factors["layers.1.k_proj.weight"]
    assert not any("q_norm" in name for name in factors)
    strata = SHORT.strata
    assert "| layers.2.down_proj |" in report_text(result, strata)
    draw_ranges(result, strata, tmp_path / "ranges.png")
    assert (tmp_path / "ranges.png").stat().st_size > 10_000
