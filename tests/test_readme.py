"""The README tells the truth: its table of models is the published one."""

import pathlib

import mobilenets

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def models_table():
    lines = [
        "| name | size | multiplier | features | parameters | MACs (M) | top-1 | top-5 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for info in map(mobilenets.get_model_info, mobilenets.list_models()):
        size = f"{info.image_size}" if info.fixed_image_size else f"{info.image_size}, any"
        lines.append(
            f"| `{info.name}` | {size} | {info.depth_multiplier:g} | {info.num_features} | {info.parameters:,} | "
            f"{info.macs / 1e6:.1f} | {info.top1} | {info.top5} |"
        )
    return "\n".join(lines)


def test_table_of_models():
    _, _, rest = README.partition("<!-- models: begin (kept true by tests/test_readme.py) -->\n")
    table, _, _ = rest.partition("\n<!-- models: end -->")
    assert table == models_table()
