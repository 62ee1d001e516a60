"""手順1: チュートリアルの例と同じ文字列、飛ばす行、大きなファイル。"""

import random

from conftest import ROOT, read, run, step, write_rows

from quiz.questions.choices import draw_questions
from quiz.questions.formats import from_quiz_king

BOB = {
    "qid": "bob",
    "question": "格闘家ボブ・サップの出身国はどこでしょう?",
    "answer_entity": "アメリカ合衆国",
    "answer_candidates": ["アメリカ合衆国", "オレゴン州", "イギリス", "コロラド州", "ミシガン州"],
}


def test_golden_train(tmp_path):
    """チュートリアルの学習の例と 1 文字違わない。"""
    order = ["オレゴン州", "イギリス", "アメリカ合衆国", "コロラド州", "ミシガン州"]
    rows = [from_quiz_king("", BOB)]
    seed = next(
        s
        for s in range(2000)
        if draw_questions(rows, None, s, None).questions[0].choices == tuple(order)
    )
    write_rows(tmp_path / "in.json", BOB)
    step("convert_train", "in.json", "-o", "out.json", "--seed", seed, cwd=tmp_path)
    assert read(tmp_path / "out.json") == [
        {
            "instruction": "以下の問題について、0, 1, 2, 3, 4の選択肢から選んで答えてください。\n\n"
            "問題: 格闘家ボブ・サップの出身国はどこでしょう? \n選択肢\n\n"
            "0: オレゴン州\n1: イギリス\n2: アメリカ合衆国\n3: コロラド州\n"
            "4: ミシガン州\n\n\n### 回答:\n",
            "output": "2: アメリカ合衆国",
        }
    ]


def test_skipped_rows_and_number_of_choices(tmp_path):
    """使えない行は理由とともに数える。候補が 4 つなら 4 択、指定より少なければ飛ばす。"""
    four = {
        "qid": "4",
        "question": "四択?",
        "answer_entity": "い",
        "answer_candidates": ["あ", "い", "う", "え"],
    }
    rows = [
        BOB,
        {**BOB, "qid": "again"},
        four,
        {**four, "qid": "x", "question": "正解がない?", "answer_entity": "お"},
        {**four, "qid": "y", "question": "一つだけ?", "answer_candidates": ["い"]},
        {
            **four,
            "qid": "z",
            "question": "穴_うめ_?",
            "answer_candidates": ["い", "ろ", "は", "に"],
        },
    ]
    write_rows(tmp_path / "in.json", *rows)
    out = step("convert_train", "in.json", "-o", "out.json", cwd=tmp_path).stdout
    assert (
        "読んだ 6 問 / 書く 3 問 / 飛ばした 3 問, 問題が重複 1 (初めは in.json:2), "
        "正解が候補にない 1 (初めは in.json:4), 候補が足りない 1 (初めは in.json:5)"
    ) in out
    records = read(tmp_path / "out.json")
    assert records[1]["instruction"].startswith("以下の問題について、0, 1, 2, 3の選択肢から")
    assert "問題: 穴うめ? \n" in records[2]["instruction"]
    step("convert_train", "in.json", "-o", "out.json", "--num-choices", "5", cwd=tmp_path)
    assert len(read(tmp_path / "out.json")) == 1
    limits = ("--num-choices", "3", "--max-questions", "1")
    step("convert_train", "in.json", "-o", "out.json", *limits, cwd=tmp_path)
    assert [r["instruction"].count("\n") for r in read(tmp_path / "out.json")] == [11]


def test_two_answers_to_one_question(tmp_path):
    """同じ問題で正解だけが違う行は、重複とは別に数える。区切りは ; でもよい。"""
    text = "問題;正解;誤答1\nあ?;い;う\nあ?;う;い\nあ?;い;う\n"
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    out = step("convert_train", "s.csv", cwd=tmp_path).stdout
    assert "同じ問題で正解が違う 1 (初めは s.csv:3), 問題が重複 1 (初めは s.csv:4)" in out


def test_next_command_is_fixed(tmp_path):
    write_rows(tmp_path / "my train.json", BOB)
    out = step("convert_train", "my train.json", cwd=tmp_path).stdout
    assert out.endswith("train-5-inst.json に書きました。次は: python convert_eval.py\n")


def test_13000_rows(tmp_path):
    """13,000 行を 300 MB 以内のメモリで変換する。"""
    rng = random.Random(0)
    rows = []
    for i in range(13000):
        wrong = [f"c{k}" + "".join(rng.choices("あいうえお漢字", k=8)) for k in range(1, 20)]
        rows.append(
            {
                "qid": f"q{i}",
                "question": "問題" * 30 + str(i),
                "answer_entity": "c0",
                "answer_candidates": ["c0", *wrong],
            }
        )
    write_rows(tmp_path / "in.json", *rows)
    script = str(ROOT / "convert_train.py")
    command = (
        "import re, runpy, sys; sys.argv[1:] = ['in.json']; "
        f"runpy.run_path({script!r}, run_name='__main__'); "
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])"
    )
    shown = run("python", "-c", command, cwd=tmp_path).stdout
    assert int(shown.split()[-1]) < 300 * 1024
    assert len(read(tmp_path / "train-5-inst.json")) == 13000
