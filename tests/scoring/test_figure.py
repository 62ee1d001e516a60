"""図: 枠の分け方、矢印、日本語の文字、大きさ。"""

import json
import struct

from conftest import read, step
from samples import solved

from quiz.scoring import figure, taught
from quiz.scoring.compare import make_tables
from quiz.scoring.read_results import read_results
from quiz.scoring.rows import beside_published, make_rows


def tables_of(*paths):
    results, problems = read_results([str(path) for path in paths])
    assert not problems
    return make_tables(make_rows(results))


def test_plot(tmp_path, monkeypatch):
    """日本語のフォントがない、文字がない、といった警告なしに、行が多くても決まった大きさの PNG。"""
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "result-base.json", [0] * 12, None)
    solved(tmp_path / "result.json", [1, 0, 1] * 4)
    shown = step("analysis", "--plot", "図.png", "--published", cwd=tmp_path)
    assert not shown.stderr and "図.png を書きました" in shown.stdout
    # 217 行の公開の表でも
    width, height = struct.unpack(">II", (tmp_path / "図.png").read_bytes()[16:24])
    assert 800 < width < 1600 and 1300 < height < 1600


def test_what_is_written(tmp_path, monkeypatch):
    """名前、問題の数、点数と学習前との差、凡例が書いてある。学習曲線は、記録がなければ、ない。"""
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "学習後のモデル.json", [1, 1, 1, 0] * 10)
    solved(tmp_path / "学習前.json", [0] * 40, None)
    made = tables_of("学習後のモデル.json", "学習前.json")
    svg = figure.plot(made, [], "svg").decode()
    texts = ("quiz (n=40)", "雑学 (n=20)", "0.75 (+0.75)", "1.00 (+1.00)")
    legend = ("モデル", "学習前のモデル", "当てずっぽう", "95 % 区間", "番号の確率での正解率")
    for text in (*texts, *legend, "学習後のモデル"):
        assert svg.count(f"<!-- {text} -->") == 1, text
    # 矢印の元の学習前のモデルは、別の行にならない
    assert "<!-- 学習前 -->" not in svg
    assert "<!-- 学習曲線" not in svg


def test_zero_is_visible(tmp_path, monkeypatch):
    """0 点にも丸があり、その区間の帯がある。点数の高い順に並ぶ。"""
    from matplotlib.figure import Figure

    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "a.json", [0] * 10, key="text")
    solved(tmp_path / "b.json", [1, 0] * 5, key="text", model="ほか")
    panel = figure.make_panels(tables_of("a.json", "b.json"))[0]
    ax = Figure().add_subplot()
    figure.draw_panel(ax, panel, panel.rows)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "a"]
    dots = [line.get_xydata()[0] for line in ax.lines if line.get_label() == "モデル"]
    assert [tuple(dot) for dot in dots] == [(0.5, 0), (0, 1)]
    left, right = ax.get_xlim()
    assert left < 0 and right > 1
    ends = ax.collections[1].get_segments()[0][:, 0]
    assert ends[0] == 0 and 0.2 < ends[1] < 0.4


def test_learning_curve(tmp_path, monkeypatch):
    """学習の記録のある結果からは、学習曲線も描く。

    同じ学習のアダプタの結果が 2 つあっても、線は 1 本で、名前はアダプタと、その結果のもの。
    """
    curve = [{"epoch": e, "step": 9 * e, "accuracy": a} for e, a in enumerate((0.2, 0.5, 0.9))]
    for name, points in (("result-a1", curve), ("result-a2", curve), ("result-b", curve[:2])):
        solved(tmp_path / f"{name}.json", [True, False] * 5, "./a", "モデル")
        *records, summary = read(tmp_path / f"{name}.json")
        (tmp_path / f"{name}.json").write_text(
            json.dumps([*records, summary | {"training": {"curve": points}}])
        )
    monkeypatch.chdir(tmp_path)
    paths = [f"result-{name}.json" for name in ("a1", "a2", "b")]
    results, _ = read_results(paths)
    curves = figure.curves_of(results)
    assert curves == {
        ((0, 0.2), (1, 0.5), (2, 0.9)): ["a", "result-a1", "result-a2"],
        ((0, 0.2), (1, 0.5)): ["a", "result-b"],
    }
    svg = figure.plot(make_tables(make_rows(results)), results, "svg").decode()
    assert "<!-- 学習曲線" in svg and svg.count("<!-- 番号の確率での正解率 -->") == 2
    assert "<!-- a result-a1 result-a2 -->" in svg
    assert "f.png を書きました\n" in step("analysis", "--plot", "f.png", cwd=tmp_path).stdout


def panels(*paths):
    """枠ごとの (題, [(行の名前, 矢印の元の行の名前か None)])。"""
    found = []
    for panel in figure.make_panels(tables_of(*paths)):
        pairs = [(now.name, before and before.name) for now, before in panel.rows.values()]
        found.append((panel.title, pairs))
    return found


def test_different_exams_of_one_name(tmp_path, monkeypatch):
    """ファイルの名前が同じでも、違う問題を解いた結果は別の枠。

    矢印で結ぶのは、同じモデルが同じ問題を解いたものだけ。
    """
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "a.json", [1, 0, 1, 1])
    solved(tmp_path / "a-base.json", [0, 0, 1, 1], None)
    solved(tmp_path / "b.json", [1, 0, 1], "./b", prompt="別の選択肢の問題")
    paths = ["a.json", "a-base.json", "b.json"]
    first = ("quiz (n=4)", [("a", "a-base")])
    assert panels(*paths)[:2] == [first, ("quiz (n=3)", [("b", None)])]
    # ほかのモデルの学習前は、別の行
    solved(tmp_path / "a-base.json", [0, 0, 0, 1], None, model="ほか")
    assert panels(*paths[:2])[0] == ("quiz (n=4)", [("a", None), ("a-base", None)])
    # 学習前が、数は同じでも別の問題を解いていれば、別の枠
    solved(tmp_path / "a-base.json", [0, 0, 1, 1], None, prompt="別の選択肢の問題")
    assert panels(*paths[:2])[:2] == [
        ("quiz (n=4)", [("a", None)]),
        ("quiz (n=4)", [("a-base", None)]),
    ]
    # 一部だけを解いたものも、別の枠
    solved(tmp_path / "b.json", [1, 0], "./b")
    assert ("quiz (n=2)", [("b", None)]) in panels(*paths)


def test_levels(tmp_path, monkeypatch):
    """同じモデルの枠 (全問と分野) が 1 つの段。枠が多ければ、次の段へ。"""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        solved(tmp_path / f"{name}.json", [1, 0, 1, 1], model=name)
    solved(tmp_path / "c.json", [1, 0, 1], prompt="別の選択肢の問題")
    made = figure.make_panels(tables_of("a.json", "b.json", "c.json"))
    levels = figure.make_levels(made)
    assert [[panel.title for panel in level] for level in levels] == [
        ["quiz (n=4)", "雑学 (n=2)", "学問 (n=2)"],
        ["quiz (n=3)", "雑学 (n=2)", "学問 (n=1)"],
    ]
    assert [len(level) for level in figure.make_levels(made[:1] * 8)] == [6, 2]


def test_published_scores_stand_beside_the_same_number_of_questions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "result.json", [i % 3 for i in range(995)])
    results, _ = read_results(["result.json"])
    made = figure.make_panels(make_tables(beside_published(make_rows(results))))
    (rows,) = [panel.rows for panel in made if panel.title == "AI王 dev1 (n=995)"]
    assert len(rows) == 24 and rows["result.json"][0].kind == "モデル"
    assert rows["swallow-13b"][0].kind == "公開の表"


def test_setting(tmp_path, monkeypatch):
    """数の設定が 1 つだけ違う結果が 3 つあれば、その値の小さい順の枠もある。"""
    monkeypatch.chdir(tmp_path)
    for rank, hits in ((16, [1, 1, 1, 0]), (4, [0, 0, 1, 0]), (8, [0, 1, 1, 0])):
        training = {"settings": {"lora_r": rank}, "train_files": {"a": "1"}, "questions": 9}
        training |= {"seed": 1, "steps_done": 9}
        solved(tmp_path / f"{rank}.json", hits, summary={"training": training})
    made = figure.make_panels(tables_of("16.json", "4.json", "8.json"))
    assert [panel.title for panel in made][:2] == ["quiz (n=4)"] * 2
    rows = made[1].rows
    assert list(rows) == ["lora_r 4: 4", "lora_r 8: 8", "lora_r 16: 16"]
    assert [now.score for now, _ in rows.values()] == [0.25, 0.5, 0.75]
    # 分野の枠も、同じ 2 つの段に
    assert [len(level) for level in figure.make_levels(made)] == [3, 3]


def test_steps(tmp_path, monkeypatch):
    """--taught を付けると、学習が教えたことの段が、前の段からの矢印で並ぶ。"""
    monkeypatch.chdir(tmp_path)
    solved(tmp_path / "result-base.json", [0, 0, 0, 1], None, choice_probs=[0.1, 0.2, 0.6, 0.1])
    solved(tmp_path / "result.json", [1, 1, 1, 0])
    results, _ = read_results(["result-base.json", "result.json"])
    rows = list(figure.steps_panel(taught.steps_of(taught.find_cases(results)[0])).rows.values())
    assert [now.score for now, _ in rows][:2] == [0.25, 1]
    assert rows[0][1] is None
    for (before, _), (now, tail) in zip(rows, rows[1:]):
        assert tail is before
    step("analysis", "--taught", "--plot", "a.svg", cwd=tmp_path)
    svg = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "<!-- 学習が教えたこと (n=4) -->" in svg and "<!-- 1.00 (+0.75) -->" in svg
