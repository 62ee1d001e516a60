"""図: 日本語の文字、棒の数。"""

import pytest
from conftest import step
from samples import solved

from quiz import figure, results, tables


@pytest.mark.parametrize("models", [1, 5, 20])
def test_plot(tmp_path, models):
    """日本語のフォントがない、文字がない、といった警告なしに PNG ができる。"""
    for i in range(models):
        solved(tmp_path / f"result-{i}.json", [j % (i // 2 + 2) == 0 for j in range(40)], None if i % 2 else "./a", f"モデル{i // 2}")
    result = step("analysis", "--plot", "図.png", "--published", cwd=tmp_path)
    assert not result.stderr and (tmp_path / "図.png").read_bytes().startswith(b"\x89PNG") and "図.png を書きました" in result.stdout
    made = tables.make_tables([results.read_run(str(tmp_path / "result-0.json"), ["one"]) | {"name": "学習後のモデル"}])
    svg = figure.plot(made, "svg")[0].decode()
    assert svg.count("<!-- 学習後のモデル -->") == len(made) and "<!-- 雑学 -->" in svg and "<!-- 当てずっぽう -->" in svg
