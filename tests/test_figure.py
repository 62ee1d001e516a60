"""図: 日本語の文字、棒の数。"""

import json

import pytest
from conftest import read, step
from samples import solved

from quiz.scoring import compare as tables
from quiz.scoring import figure
from quiz.scoring import read_results as runs


@pytest.mark.parametrize("models", [1, 5, 20])
def test_plot(tmp_path, models):
    """日本語のフォントがない、文字がない、といった警告なしに PNG ができる。"""
    for i in range(models):
        solved(tmp_path / f"result-{i}.json", [j % (i // 2 + 2) == 0 for j in range(40)], None if i % 2 else "./a", f"モデル{i // 2}")
    result = step("analysis", "--plot", "図.png", "--published", cwd=tmp_path)
    assert not result.stderr and (tmp_path / "図.png").read_bytes().startswith(b"\x89PNG") and "図.png を書きました" in result.stdout
    made = tables.make_tables([runs.read_run(str(tmp_path / "result-0.json"), ["one"]) | {"name": "学習後のモデル"}])
    svg = figure.plot(made, {}, "svg")[0].decode()
    assert svg.count("<!-- 学習後のモデル -->") == len(made) and "<!-- 雑学 -->" in svg and "<!-- 当てずっぽう -->" in svg
    assert "<!-- 学習曲線 -->" not in svg


def test_learning_curve(tmp_path, monkeypatch):
    """学習の記録のある結果からは、学習曲線も描く。同じ学習のアダプタの結果が 2 つあっても、線は 1 本。"""
    curve = [{"epoch": e, "step": 9 * e, "accuracy": a} for e, a in enumerate((0.2, 0.5, 0.9))]
    for name, points in (("result-a1", curve), ("result-a2", curve), ("result-b", curve[:2])):
        solved(tmp_path / f"{name}.json", [True, False] * 5, "./a", "モデル")
        *records, summary = read(tmp_path / f"{name}.json")
        (tmp_path / f"{name}.json").write_text(json.dumps([*records, summary | {"training": {"curve": points}}]))
    monkeypatch.chdir(tmp_path)
    paths = [f"result-{name}.json" for name in ("a1", "a2", "b")]
    made = [runs.read_run(path, paths) for path in paths]
    curves = runs.curves(made)
    assert set(curves) == {"result-a1", "result-b"} and curves["result-a1"] == ((0, 0.2), (1, 0.5), (2, 0.9))
    svg = figure.plot(tables.make_tables(made), curves, "svg")[0].decode()
    assert "<!-- 学習曲線 -->" in svg and "<!-- 番号の確率での正解率 -->" in svg
    assert step("analysis", "--plot", "f.png", cwd=tmp_path).stdout.endswith("f.png を書きました\n")
