"""表: 公開の表、区間と検定の付いた表、古いファイル。"""

import csv
import json
import re

import pytest
from conftest import ROOT, step
from samples import record, solved, table_of, wilson_roots, write_result

from quiz.questions.converted import read_quiz
from quiz.solving.results import Answer, write_results
from quiz.scoring.compare import with_published

PUBLISHED = """\
### Table for key: 芸能
| Model | Environment | Score | Latency |
| --- | --- | --- | --- |
| swallow-13b                    | dev5 | 0.562152133580705 | 584.5554900169373 |
| swallow-7b                     | dev5 | 0.5584415584415584 | 621.7504227161407 |
| calm2-7b                       | dev5 | 0.5306122448979592 | 528.282838344574 |
| stablelm-gamma-7b              | dev5 | 0.4712430426716141 | 819.9777934551239 |
| chatntq-7b                     | dev5 | 0.4582560296846011 | 542.4657855033875 |
| ELYZA-13b-fast-instruct        | dev5 | 0.4267161410018553 | 555.7631332874298 |
| karasu-7B                      | dev5 | 0.4174397031539889 | 561.0078446865082 |
| nekomata-7b-instruction        | dev5 | 0.38589981447124305 | 304.2966306209564 |
| Xwin-LM-7b                     | dev5 | 0.3562152133580705 | 552.5936434268951 |
| youri-7b                       | dev5 | 0.3525046382189239 | 556.2371628284454 |
| LLaMA-Pro-8B-Instruct          | dev5 | 0.33766233766233766 | 675.1720423698425 |
| ELYZA-7b-fast-instruct         | dev5 | 0.3209647495361781 | 641.4171378612518 |
| Mistral-7B                     | dev5 | 0.29313543599257885 | 813.7870280742645 |
| nekomata-7b                    | dev5 | 0.26159554730983303 | 347.97372341156006 |

### Table for key: 学問
"""
# 学問、雑学、アニメ、スポーツのモデルの順 (PUBLISHED の芸能の行の番号で)。
ORDERS = ["0 1 6 4 3 2 5 11 7 8 9 10 12 13", "0 1 4 2 3 6 5 11 8 9 10 7 12 13",
          "0 1 2 3 4 5 8 6 10 7 11 9 12 13", "0 1 4 3 2 6 5 11 7 8 9 10 12 13"]


def published_rows():
    with (ROOT / "data/published_scores.csv").open(encoding="utf-8") as f:
        return list(csv.DictReader(f))


def test_published_scores_are_all_there():
    """217 行: チュートリアルの 70 行は元の桁のまま、2024-02 の版の 147 行は 3 桁。同じ行は 2 度ない。"""
    rows = published_rows()
    first, later = ([r for r in rows if r["source"] == source] for source in ("tutorial", "2024-02"))
    assert len(rows) == len({(r["environment"], r["model"]) for r in rows}) == 217 and (len(first), len(later)) == (70, 147)
    lines = [f"| {r['model']:<30} | {r['environment']} | {r['score']} | {r['latency']} |" for r in first if r["genre"] == "芸能"]
    assert lines == PUBLISHED.split("| --- | --- | --- | --- |\n")[1].split("\n\n")[0].splitlines()
    models = [r["model"] for r in first]
    assert [models[i:i + 14] for i in range(14, 70, 14)] == [[models[int(k)] for k in order.split()] for order in ORDERS]
    assert first[-1]["score"] == "0.2321187584345479" and all(len(r["score"]) <= 5 for r in later)
    whole = {(r["genre"], r["environment"]) for r in later if r["environment"] < "dev5"}
    assert whole == {
        ("AI王 dev1", "dev1"), ("AI王 dev2", "dev2"), ("JcommonsenseQA-v1.1 valid dev3", "dev3"),
        ("JcommonsenseQA-v1.1 train dev4", "dev4")}
    named = {line.split(",")[0] for line in (ROOT / "data/models.csv").read_text(encoding="utf-8").splitlines()[1:]}
    assert {r["model"] for r in rows} == named


def test_published_tables(tmp_path):
    """結果がなければ、公開の 9 つの表を点数の順に、元の桁のまま出す。"""
    out = step("analysis", "--published", cwd=tmp_path).stdout
    keys = re.findall("key: (.*)", out)
    assert keys[:5] == ["芸能", "学問", "雑学", "アニメ", "スポーツ"] and len(keys) == 9
    shown = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if "| dev" in line]
    assert sorted(map(tuple, shown)) == sorted((r["model"], r["environment"], r["score"], r["latency"]) for r in published_rows())
    for key in keys:
        scores = [float(row["Score"]) for row in table_of(out, key).values()]
        assert scores == sorted(scores, reverse=True)
    assert table_of(out, "AI王 dev1")["open-calm-small"]["Score"] == "0.348"


def test_published_beside_own(tmp_path):
    """自分の結果は、同じ分野の表に点数の順に入る。公開の行の n は、元の桁の Score が (整数)/n になる数。"""
    write_result(tmp_path / "result-mine.json", [{**record(k < 5, "学問"), "qid": str(k)} for k in range(10)])
    out = step("analysis", "--published", cwd=tmp_path).stdout
    scores = [float(row["Score"]) for row in table_of(out, "学問").values()]
    assert 0.5 in scores and scores == sorted(scores, reverse=True) and len(scores) == 26
    for key, rows in with_published({}).items():
        for row in rows:
            k = row["score"] * row["n"]
            assert 500 < row["n"] < 9000 and (row["source"] == "2024-02" or abs(k - round(k)) < 1e-9), key
            assert row["interval"] == pytest.approx(wilson_roots(round(k), row["n"]), abs=1e-9)


@pytest.mark.parametrize("n, beside", [(995, True), (990, True), (996, False), (179, False)])
def test_own_dev1_beside_the_published_dev1(n, beside, tmp_path):
    """quiz.json の全問を解いた結果は、公開の dev1 の表に並ぶ。ほかの問題や一部だけの結果は並ばない。"""
    solved(tmp_path / "result.json", [i % 3 for i in range(n)])
    out = step("analysis", "--published", cwd=tmp_path).stdout
    if beside:  # 一部だけの結果が隣にあっても、問題文を隠した結果は並ばない
        solved(tmp_path / "result-part.json", [1, 0, 1])
        *rows, summary = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
        (tmp_path / "result-blank.json").write_text(json.dumps([*rows, summary | {"blank_question": True}], ensure_ascii=False))
        names = table_of(step("analysis", "--published", cwd=tmp_path).stdout, "AI王 dev1")
        assert "result" in names and "result-part" not in names and "result-blank" not in names
    assert ("result" in table_of(out, "AI王 dev1")) == beside and ("key: quiz\n" in out) != beside


@pytest.mark.parametrize("key", ["qid", "prompt"])
def test_table(tmp_path, key):
    """点数の順に並び、区間、学習前と最良との検定が付く。最良と区別できないものには ≈。問題の順は違ってもよい。"""
    solved(tmp_path / "result-base.json", [1] * 20 + [0] * 60, None, key=key)
    solved(tmp_path / "result-good.json", [0] * 5 + [1] * 60 + [0] * 15, key=key)
    path = tmp_path / "result-near.json"
    records = solved(path, [0] * 8 + [1] * 60 + [0] * 12, key=key, hit=False)
    for r, h in zip(records, [0] * 8 + [1] * 55 + [0] * 17):
        r["hit"] = bool(h)
    summary = {"elapsed_time": 1, "model": "calm", "adapter": "./b", "quiz": ["quiz.json"]}
    path.write_text(json.dumps([*records[::-1], summary], ensure_ascii=False), encoding="utf-8")
    solved(tmp_path / "result-other.json", [1, 0, 1], None, "swallow", key=key)  # 3 問だけが共通
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert re.findall("key: (.*)", out) == ["quiz", "雑学", "学問"]
    table = table_of(out, "quiz")
    assert list(table) == ["result-good", "result-near", "result-other", "result-base"]
    good, near, other, base = table.values()
    assert good == {"Model": "result-good", "Environment": "quiz", "Score": "0.7500", "Latency": "9.5", "n": "80", "95% CI": "0.645-0.832",
                    "Unparsed": "0.0 %", "Likelihood": "1.0000", "Chance": "0.25", "vs best": "best", "vs base": "+45 -5 p<0.001"}
    # near は good と 0 勝 5 敗なので p = 2 × 2**-5 = 0.0625。3 つの検定のうち 2 番目に小さいので、Holm の補正で 2 倍になる。
    assert near["vs best"] == "+0 -5 p=0.125 ≈" and base["vs best"] == "+5 -45 p<0.001" and base["vs base"] == "base"
    assert other["vs best"] == "+2 -0 p=0.500 ≈" and other["vs base"] == "base" and other["n"] == "3"
    assert "| result-good | result-base | 80 | +0.500 | " in out and "| result-base | result-good |" not in out
    assert "- result-other と result-good: 共通でない 77 問を除いた" in out
    assert table_of(out, "学問")["result-good"]["n"] == "40" and table_of(out, "学問")["result-good"]["Latency"] == "20.0"
    assert "Wilson" in out and "Holm" in out


def test_same_questions_with_other_choices_are_no_pair(tmp_path):
    """qid が同じでも、選択肢の数 (4、5、10) か順が違えば、同じ問題ではない。断って、わけを言う。"""
    rows = [json.loads(line) for line in (ROOT / "data/demo/dev1_questions.json").read_text(encoding="utf-8").splitlines()[:20]]
    (tmp_path / "dev.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, options in (("4", ["--num-choices", "4"]), ("5", []), ("10", ["--num-choices", "10"]), ("seed1", ["--seed", "1"])):
        step("convert_eval", "dev.json", "-o", f"quiz-{name}.json", *options, cwd=tmp_path)
        questions = read_quiz([tmp_path / f"quiz-{name}.json"])
        answers = [Answer(i, q.lines[0], "0", q.label == 0, [1] + [0] * (len(q.choices) - 1), 0.1)
                   for i, q in enumerate(questions)]
        write_results(tmp_path / f"result-{name}.json", questions, answers, {"model": "m", "adapter": name}, ["quiz.json"])
    out = step("analysis", "--table", cwd=tmp_path).stdout
    table = table_of(out, "学問")
    assert sorted(row["vs best"] for row in table.values()) == ["-", "-", "-", "best"] and "p<" not in out
    part = out.split("比べなかったもの:")[1].split("###")[0]
    assert part.count("qid は 20 問が同じだが、選択肢かその順が違う") == 3


def test_base_is_never_best(tmp_path):
    """学習前のモデルは、点数が高くても「最良」とは呼ばない。「最良」は表に 1 つ。"""
    solved(tmp_path / "result-base.json", [1] * 9 + [0], None)
    solved(tmp_path / "result-a.json", [1] * 5 + [0] * 5)
    solved(tmp_path / "result-b.json", [1] * 4 + [0] * 6, "./b")
    table = table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")
    assert [(name, row["vs best"]) for name, row in table.items() if row["vs best"] == "best"] == [("result-a", "best")]
    (tmp_path / "result-a.json").unlink()
    (tmp_path / "result-b.json").unlink()
    solved(tmp_path / "result-base2.json", [1] * 4 + [0] * 6, None, "other")
    assert "best" not in [row["vs best"] for row in table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz").values()]


def test_table_corrects_for_many_comparisons(tmp_path):
    """0 勝 6 敗は 1 回の検定なら p = 2 × 2**-6 = 0.031。2 つの検定なら 2 倍になり、最良と区別できない。"""
    for name, missed in (("best", ()), ("left", range(6)), ("right", range(10, 16))):
        solved(tmp_path / f"result-{name}.json", [i not in missed for i in range(20)])
    table = table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")
    assert [row["vs best"] for row in table.values()] == ["best", "+0 -6 p=0.062 ≈", "+0 -6 p=0.062 ≈"]
    (tmp_path / "result-right.json").unlink()
    assert table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")["result-left"]["vs best"] == "+0 -6 p=0.031"


def test_identical_runs(tmp_path):
    """同じ結果どうしなら p = 1 で、どちらが上とも言わない。"""
    for name in "ab":
        solved(tmp_path / f"result-{name}.json", [1, 0, 1, 1])
    assert table_of(step("analysis", "--table", cwd=tmp_path).stdout, "quiz")["result-b"]["vs best"] == "+0 -0 p=1.000 ≈"


def test_same_file_name_in_two_folders(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        solved(tmp_path / name / "result.json", [1, 0])
    out = step("analysis", "--table", "a/result.json", "b/result.json", cwd=tmp_path).stdout
    assert list(table_of(out, "quiz")) == ["a/result", "b/result"]


def test_old_files_everywhere(tmp_path):
    """2024 年版のファイルでも、どのオプションも動く。分からない値は - 。"""
    old = [{"ID": i, "hit": i < 1, "out_str": "2"} for i in range(4)]
    write_result(tmp_path / "result.json", old)
    write_result(tmp_path / "result2.json", [{k: v for k, v in record(True).items() if k not in ("choice_probs", "seconds", "genre")}])
    write_result(tmp_path / "result3.json", [{"hit": False}])
    out = step("analysis", "--table", "--errors", "--plot", "a.svg", "--html", "a.html", cwd=tmp_path)
    table = table_of(out.stdout, "全問")
    assert list(table["result"].values()) == ["result", "-", "0.2500", "1.5", "4", "0.046-0.699", "0.0 %", "-", "-", "-", "-"]
    assert table["result2"]["Chance"] == "0.25" and table["result3"]["Unparsed"] == "-" and not out.stderr
    assert out.stdout.count("確信度は出せません") == 3 and (tmp_path / "a.svg").exists()
