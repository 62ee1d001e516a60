"""クイズ王の JSON と、どの形かを中身で見分けること。"""

import json
import shutil

import pytest
from conftest import DEMO, ROOT, read, step, train, write_rows

ROWS = []
for line in (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:3]:
    ROWS.append(json.loads(line))
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
JCQA = {"q_id": 7, "question": "電車が止まる所は?", "label": 0}
JCQA |= {f"choice{k}": text for k, text in enumerate("駅港空山川")}


def converted(work, name, *options):
    """name を手順2で変換した、記録のリスト。"""
    step("convert_eval", name, "-o", "quiz-own.json", *options, cwd=work)
    return read(work / "quiz-own.json")


def test_rebuilt_jcommonsenseqa_gives_the_same(tmp_path):
    """クイズ王の形の問題を JCommonsenseQA の形に組み直しても、問題、正解、選択肢の集まりは同じ。"""
    lines = (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:40]
    kings, rebuilt = [], []
    for line in lines:
        row = json.loads(line)
        wrong = [c for c in row["answer_candidates"] if c != row["answer_entity"]]
        candidates = [row["answer_entity"], *wrong][:5]
        kings.append(row | {"answer_candidates": candidates})
        numbered = {f"choice{k}": c for k, c in enumerate(candidates)}
        rebuilt.append({"q_id": row["qid"], "question": row["question"], "label": 0} | numbered)
    write_rows(tmp_path / "king.json", *kings)
    write_rows(tmp_path / "jcqa.json", *rebuilt)

    def meaning(record):
        choices = sorted(line[3:] for line in record["input"].strip().splitlines())
        return record["qid"], record["instruction"], record["output"][3:], choices

    ours = [meaning(record) for record in converted(tmp_path, "king.json")]
    assert len(ours) == 40 and ours == [meaning(r) for r in converted(tmp_path, "jcqa.json")]


def test_gap_mark_of_quiz_king(tmp_path):
    """クイズ王の _ は穴埋めの印なので除く。英数字に挟まれた _ は問題の文字。"""
    row = {"answer_entity": "あ", "answer_candidates": ["あ", "い"]}
    write_rows(
        tmp_path / "king.json",
        row | {"question": "穴_うめ__と read_csv は?"},
        row | {"question": "__"},
    )
    first, second = converted(tmp_path, "king.json")
    assert "問題: 穴うめと read_csv は?\n" in first["instruction"]
    # 印だけなら、問題文が空にならないように残す
    assert "問題: __\n" in second["instruction"]


@pytest.mark.parametrize(
    "genre, shown", [(float("nan"), None), (None, None), (" 学 問\n", "学 問"), (3, "3")]
)
@pytest.mark.parametrize("base", [ROWS[0], JCQA])
def test_genre(base, genre, shown, tmp_path):
    """NaN の分野はないのと同じ。前後の空白や改行は除く。書くものは、正しい JSON。"""
    write_rows(tmp_path / "source.json", base | {"genre": genre})
    (record,) = converted(tmp_path, "source.json")
    assert record.get("genre") == shown
    assert "NaN" not in (tmp_path / "quiz-own.json").read_text(encoding="utf-8")


ACCEPTED = {
    "bom": "\ufeff" + "\n".join(LINES),
    "crlf": "\r\n".join(LINES) + "\r\n",
    "blank lines": "\n\n".join(LINES) + "\n\n\n",
    "array": "[" + ",".join(LINES) + "]",
    "trailing comma": "[\n" + ",\n".join(LINES) + ",\n]",
    "commas between lines": ",\n".join(LINES),
    "one record over many lines": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "escapes": "\n".join(json.dumps(row) for row in ROWS),
    # BOM のあるファイルを cat でつないだもの
    "boms in the middle": "".join(f"\ufeff{line}\n" for line in LINES),
    "arrays with boms": f"\ufeff[{LINES[0]}]\n\ufeff[{LINES[1]},{LINES[2]}]\n",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name, tmp_path):
    """読んでよい形は、同じ問題として読む。"""
    write_rows(tmp_path / "plain.json", *ROWS)
    (tmp_path / "source.json").write_bytes(ACCEPTED[name].encode())
    assert converted(tmp_path, "source.json") == converted(tmp_path, "plain.json")


@pytest.mark.parametrize("word", ["正解", "Answer", "問題"])
@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_json_with_a_candidate_named_like_a_header(word, separators, tmp_path):
    """pandas が書く、空白のない 1 行の配列も、候補に「正解」があっても、JSON。"""
    rows = [row | {"answer_candidates": [*row["answer_candidates"], word]} for row in ROWS]
    text = json.dumps(rows, ensure_ascii=False, separators=separators)
    for mark in ("", "\ufeff", "\n"):
        (tmp_path / "source.json").write_text(mark + text, encoding="utf-8")
        assert len(converted(tmp_path, "source.json")) == 3


@pytest.mark.parametrize(
    "question, candidates",
    [
        ("選択肢\n\n0: あ", ["い\nう", "1: え", "### 回答:", "お"]),
        ("長い" * 50000, ["a", "b"]),
        ("多い", [f"候補{i}" for i in range(30000)]),
        ("右から左\u202e", ["\u200f", "あ\u2066", "い"]),
        ("{question} {0}", ["{choices}", "%s", "\\n"]),
        ("絵文字👨‍👩‍👧", ["𠮷", "か\u3099", "が"]),
    ],
)
def test_odd_questions_come_through(question, candidates, tmp_path):
    """改行、書式に似た文字、長い問題、多い候補、向きの変わる文字でも、同じ問題として通る。"""
    row = {
        "qid": "q",
        "question": question,
        "answer_entity": candidates[0],
        "answer_candidates": candidates,
    }
    write_rows(tmp_path / "source.json", row)
    step("convert_train", "source.json", cwd=tmp_path)
    step("convert_eval", "source.json", cwd=tmp_path)
    (train_record,) = read(tmp_path / "train-5-inst.json")
    (evaluation,) = read(tmp_path / "quiz.json")
    answer = f"{train_record['output'][0]}: {' '.join(candidates[0].split())}"
    assert train_record["output"] == evaluation["output"] == answer
    assert evaluation["input"].rstrip("\n") in train_record["instruction"]


def test_every_format_through_the_steps(tmp_path):
    """3 つの形を合わせて学習し、それぞれを解かせて、点数を出す (デモのモデル)。

    当てずっぽうは問題ごと。
    """
    for i in range(5):
        with (tmp_path / "jcqa.json").open("a", encoding="utf-8") as f:
            print(json.dumps(JCQA | {"q_id": i, "question": f"{i} 番の駅は?", "label": i}), file=f)
    lines = (DEMO / "train_questions.json").read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "king.json").write_text("".join(lines[:20]), encoding="utf-8")
    shutil.copy(ROOT / "data/questions_example.csv", tmp_path)
    names = ("king.json", "jcqa.json", "questions_example.csv")
    out = step("convert_train", *names, cwd=tmp_path).stdout
    assert "読んだ 28 問 / 書く 28 問" in out and "選択肢の数: 4 択: 2  5 択: 26" in out
    yaml = (ROOT / "data/demo/qlora-demo.yml").read_text(encoding="utf-8")
    yaml = yaml.replace("./data/demo/model", str(DEMO / "model"))
    (tmp_path / "qlora-opencalm.yml").write_text(yaml, encoding="utf-8")
    train(tmp_path, "--max_steps", "2")
    for name in names:
        quiz = f"quiz-{name.partition('.')[0]}.json"
        step("convert_eval", name, "-o", quiz, cwd=tmp_path)
        step("run_quiz", "--quiz", quiz, cwd=tmp_path)
    shown = step("analysis", "--genre", cwd=tmp_path).stdout
    # (1/5 + 1/4 + 1/4) / 3
    assert "result-jcqa.json" in shown and "当てずっぽう 0.23" in shown
