"""表: 公開の表、区間と検定の付いた表、古いファイル。"""

import csv
import json
import re

import pytest
from conftest import ROOT, step
from samples import record, solved, table_of, wilson_roots, write_result

from quiz.tables import with_published

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


def test_published_tables(tmp_path):
    """結果がなければ、チュートリアルの 5 つの表を、その順とその形のまま出す。桁もすべて残す。"""
    out = step("analysis", "--published", cwd=tmp_path).stdout
    assert out.startswith(PUBLISHED)
    assert out.endswith("| nekomata-7b                    | dev9 | 0.2321187584345479 | 205.74456930160522 |\n")
    assert re.findall("key: (.*)", out) == ["芸能", "学問", "雑学", "アニメ", "スポーツ"] and out.count("\n") == 5 * 18 - 1
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines() if "| dev" in line]
    models = [row[0] for row in rows[:14]]
    assert [[row[0] for row in rows[i:i + 14]] for i in range(14, 70, 14)] == [[models[int(k)] for k in o.split()] for o in ORDERS]
    assert [row[1] for row in rows] == [f"dev{5 + i // 14}" for i in range(70)]
    with (ROOT / "data/published_scores.csv").open(encoding="utf-8") as f:
        data = list(csv.reader(f))
    assert data[0] == ["genre", "model", "environment", "score", "latency"] and [row[1:] for row in data[1:]] == rows


def test_published_beside_own(tmp_path):
    """自分の結果があれば、同じ分野の表に点数の順に入る。公開の行の n は、どの Score も (整数)/n になる数。"""
    write_result(tmp_path / "result-mine.json", [{**record(k < 5, "学問"), "qid": str(k)} for k in range(10)])
    out = step("analysis", "--published", cwd=tmp_path).stdout
    assert re.findall("key: (.*)", out) == ["芸能", "学問", "雑学", "アニメ", "スポーツ"]
    part = out.split("### ")[2].splitlines()
    names = [line.split("|")[1].strip() for line in part[3:18]]
    assert names[names.index("result-mine") - 1] == "calm2-7b" and names[names.index("result-mine") + 1] == "ELYZA-13b-fast-instruct"
    for rows in with_published({}).values():
        for row in rows:
            k = row["score"] * row["n"]
            assert 500 < row["n"] < 1000 and abs(k - round(k)) < 1e-9
            assert row["interval"] == pytest.approx(wilson_roots(round(k), row["n"]), abs=1e-9)


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
    solved(tmp_path / "result-other.json", [1, 0, 1], None, "swallow", key=key)  # 問題が違うので比べない
    out = step("analysis", "--table", cwd=tmp_path).stdout
    assert re.findall("key: (.*)", out) == ["quiz", "雑学", "学問"]
    table = table_of(out, "quiz")
    assert list(table) == ["result-good", "result-near", "result-other", "result-base"]
    good, near, other, base = table.values()
    assert good == {"Model": "result-good", "Environment": "quiz", "Score": "0.7500", "Latency": "9.5", "n": "80", "95% CI": "0.645-0.832",
                    "Unparsed": "0.0 %", "Likelihood": "1.0000", "Chance": "0.25", "vs best": "best", "vs base": "+45 -5 p<0.001"}
    # near は good と 0 勝 5 敗なので p = 2 × 2**-5 = 0.0625。2 つの検定のうち大きい方なので、Holm の補正でも変わらない。
    assert near["vs best"] == "+0 -5 p=0.062 ≈" and base["vs best"] == "+5 -45 p<0.001" and base["vs base"] == "base"
    assert other["vs best"] == "-" and other["vs base"] == "base" and other["n"] == "3"
    assert table_of(out, "学問")["result-good"]["n"] == "40" and table_of(out, "学問")["result-good"]["Latency"] == "20.0"
    assert "Wilson" in out and "Holm" in out


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
