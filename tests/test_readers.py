"""自分の問題: 表計算の CSV と TSV、JCommonsenseQA、いくつもの元。"""

import json
import shutil

import pytest
from conftest import DEMO, ROOT, read, step, step_error, train, write_rows

HEADER = "問題,正解,誤答1,誤答2,誤答3,分野\n"
SHEET = HEADER + "日本一高い山は?,富士山,北岳,槍ヶ岳,立山,地理\n\"二つめ,\n改行つき?\",read_csv,read_json,read_sql,,\n"
JCQA = {"q_id": 7, "question": "電車が止まる所は?", **{f"choice{k}": text for k, text in enumerate("駅港空山川")}, "label": 0}


def questions(work, *names, **options):
    step("convert_eval", *names, "-o", "quiz-own.json", *(x for k, v in options.items() for x in (f"--{k}", v)), cwd=work)
    return read(work / "quiz-own.json")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
@pytest.mark.parametrize("change", [str, lambda s: s.replace("\n", "\r\n"), lambda s: s.replace(",", "\t").replace("二つめ\t", "二つめ,"),
                                    lambda s: s.replace(HEADER, "Question,Answer,Wrong1,wrong 2,ＷＲＯＮＧ３,genre\n")])
def test_sheet(encoding, change, tmp_path):
    """Excel、Google スプレッドシート、LibreOffice の書き出す形。4 択と 3 択が混ざり、文字は改行のほか変わらない。"""
    (tmp_path / "sheet.csv").write_bytes(change(SHEET).encode(encoding))
    first, second = questions(tmp_path, "sheet.csv")
    assert first["input"].count("\n") == 6 and second["input"].count("\n") == 5  # 選択肢の後に 3 つ
    assert first["output"].endswith(": 富士山") and first["genre"] == "地理" and "genre" not in second
    assert "問題: 二つめ, 改行つき?\n" in second["instruction"] and second["output"].endswith(": read_csv")


def test_wave_dash_and_full_width_space(tmp_path):
    """波ダッシュも全角の空白も、書いた人の文字のまま。"""
    (tmp_path / "sheet.csv").write_bytes((HEADER + "3〜5　の\u3000間?,４,6,7,8,\n").replace("〜", "～").encode("cp932"))
    assert "問題: 3～5　の\u3000間?\n" in questions(tmp_path, "sheet.csv")[0]["instruction"]


def test_jcommonsenseqa(tmp_path):
    """選択肢の順は公開されたまま。種を変えても変わらない。数を減らせば、ほかと同じように引く。"""
    write_rows(tmp_path / "jcqa.json", JCQA, JCQA | {"q_id": 8, "label": 3, "question": "高い所は?"})
    for seed in ("0", "5"):
        first, second = questions(tmp_path, "jcqa.json", seed=seed)
        assert first["input"] == "0: 駅\n1: 港\n2: 空\n3: 山\n4: 川\n\n\n" == second["input"]
        assert (first["output"], second["output"], first["qid"]) == ("0: 駅", "3: 山", 7)
    assert questions(tmp_path, "jcqa.json", **{"num-choices": "3"})[0]["input"].count(": ") == 3


def test_rebuilt_jcommonsenseqa_gives_the_same(tmp_path):
    """クイズ王の形の問題を JCommonsenseQA の形に組み直しても、問題、正解、選択肢の集まりは同じ。"""
    rows = [json.loads(line) for line in (DEMO / "dev1_questions.json").read_text(encoding="utf-8").splitlines()[:40]]
    rows = [row | {"answer_candidates": [row["answer_entity"], *(c for c in row["answer_candidates"] if c != row["answer_entity"])][:5]}
            for row in rows]
    write_rows(tmp_path / "king.json", *rows)
    rebuilt = [{f"choice{k}": c for k, c in enumerate(r["answer_candidates"])} for r in rows]
    write_rows(tmp_path / "jcqa.json", *({"q_id": r["qid"], "question": r["question"], **c, "label": 0} for r, c in zip(rows, rebuilt)))
    ours, theirs = questions(tmp_path, "king.json"), questions(tmp_path, "jcqa.json")

    def meaning(r):
        return r["qid"], r["instruction"], r["output"][3:], sorted(line[3:] for line in r["input"].strip().splitlines())

    assert list(map(meaning, ours)) == list(map(meaning, theirs))


def test_gap_mark_of_quiz_king(tmp_path):
    """クイズ王の _ は穴埋めの印なので除く。英数字に挟まれた _ は問題の文字。表計算の _ は、どれも問題の文字。"""
    row = {"answer_entity": "あ", "answer_candidates": ["あ", "い"]}
    write_rows(tmp_path / "king.json", row | {"question": "穴_うめ__と read_csv は?"})
    assert "問題: 穴うめと read_csv は?\n" in questions(tmp_path, "king.json")[0]["instruction"]
    (tmp_path / "sheet.csv").write_text("問題,正解,誤答1\n穴_うめは?,あ,い\n", encoding="utf-8")
    assert "問題: 穴_うめは?\n" in questions(tmp_path, "sheet.csv")[0]["instruction"]


def test_what_a_teacher_wants_to_know(tmp_path):
    """選択肢の数、正解の長さ、問題文の中の正解、重複 (全角と半角の違いは問わない) と行を言う。使わない列も言う。"""
    rows = "富士山は何山?,富士山,丘,谷,x\nＡは?,とても長い正解,短い,短,\nAは?,とても長い正解,短い,短,\n二択は?,はい,いいえ,,\n"
    (tmp_path / "sheet.csv").write_text("問題,正解,誤答1,誤答2,備考\n" + rows, encoding="utf-8")
    out = step("convert_train", "sheet.csv", cwd=tmp_path).stdout
    for part in ("使わない列: 備考", "読んだ 4 問 / 書く 3 問 / 飛ばした 1 問, 問題が重複 1 (4 行)", "選択肢の数: 2 択: 1 問  3 択: 2 問",
                 "正解が最も長い選択肢: 66.7 % (当てずっぽうは 38.9 %", "注意: 1 問は、正解が問題文の中にあります"):
        assert part in out, (part, out)


BAD = {
    "no answer column": ("問題,誤答1\nあ?,い\n", ["s.csv:1", "正解 の列"]),
    "no wrong column": ("問題,正解\nあ?,い\n", ["s.csv:1", "誤答1 の列"]),
    "no question column": ("正解,誤答1\nい,う\n", ["s.csv:1", "問題 の列"]),
    "misspelt header": ("問題,正解,ごとう1\nあ?,い,う\n", ["s.csv:1", "誤答1 の列", "ごとう1"]),
    "the same column twice": ("問題,問題,正解,誤答1\nあ?,い?,う,え\n", ["s.csv:1", "2 度"]),
    "empty question": (HEADER + "あ?,い,う,え,お,\n,い,う,え,お,\n", ["s.csv:3", "「問題」の列が空"]),
    "empty answer": (HEADER + "あ?,,う,え,お,\n", ["s.csv:2", "「正解」の列が空"]),
    "short row": (HEADER + "あ?\n", ["s.csv:2", "「正解」の列が空"]),
    "answer among the wrong ones": (HEADER + "あ?,い,う,イ,い,\n", ["s.csv:2", "「誤答3」の列", "正解と同じ"]),
    "same but for width": (HEADER + "あ?,ABC,う,ＡＢＣ,え,\n", ["s.csv:2", "「誤答2」の列"]),
    "two header lines": (HEADER + "question,answer,wrong1,wrong2,wrong3,genre\nあ?,い,う,え,お,\n", ["s.csv:2", "見出しの行が 2 つ"]),
    "a date": (HEADER + "サッカーの結果は?,2024/3/1,2-0,1-1,0-0,\n", ["s.csv:2", "日付"]),
    "an error of the sheet": (HEADER + "あ?,#REF!,う,え,お,\n", ["s.csv:2", "「正解」の列", "#REF!"]),
    "a comma without quotes": (HEADER + "あ, い, うのうち?,い,う,え,お,分野\n", ["s.csv:2", "2 個多く", '"']),
    "a quote left open": (HEADER + 'あ?,"い,う,え,お,\nか?,き,く,け,こ,\n', ["s.csv", '"']),
    "header only": (HEADER, ["s.csv", "1 問もありません"]),
    "no wrong answers": (HEADER + "あ?,い,,,,\n", ["1 問もありません", "候補が足りない"]),
    "no header": ("あ?,い,う,え,お\n", ["s.csv:1", "1 行目に見出し"]),
    "a division by zero": (HEADER + "あ?,い,う,#DIV/0!,お,\n", ["s.csv:2", "「誤答2」の列", "#DIV/0!"]),
    "control character": (HEADER + "あ\x07?,い,う,え,お,\n", ["1 問もありません", "制御文字"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sheet(name, tmp_path):
    """壊れた表は、行と列を言う 1 行で終わる。"""
    content, expected = BAD[name]
    (tmp_path / "s.csv").write_text(content, encoding="utf-8", newline="")
    error = step_error("convert_train", "s.csv", cwd=tmp_path)
    assert all(part in error for part in expected), error
    assert not (tmp_path / "train-5-inst.json").exists()


def test_two_answers_to_one_question(tmp_path):
    """同じ問題で正解だけが違う行は、重複とは別に数える。区切りは ; でもよい。"""
    (tmp_path / "s.csv").write_text("問題;正解;誤答1\nあ?;い;う\nあ?;う;い\nあ?;い;う\n", encoding="utf-8")
    assert "同じ問題で正解が違う 1 (3 行), 問題が重複 1 (4 行)" in step("convert_train", "s.csv", cwd=tmp_path).stdout


def test_old_mac_line_ends_are_read(tmp_path):
    (tmp_path / "s.csv").write_bytes((HEADER + "あ?,い,う,え,お,\nか?,き,く,け,こ,\n").replace("\n", "\r").encode())
    assert len(questions(tmp_path, "s.csv")) == 2


@pytest.mark.parametrize("label", [5, -1, "0", None, True, 1.0])
def test_bad_jcommonsenseqa(label, tmp_path):
    write_rows(tmp_path / "j.json", JCQA, JCQA | {"label": label})
    assert "j.json:2" in (error := step_error("convert_train", "j.json", cwd=tmp_path)) and "label" in error


def test_every_format_through_the_steps(tmp_path):
    """3 つの形を合わせて学習し、それぞれを解かせて、点数を出す (デモのモデル)。当てずっぽうは問題ごと。"""
    write_rows(tmp_path / "jcqa.json", *(JCQA | {"q_id": i, "question": f"{i} 番の駅は?", "label": i % 5} for i in range(5)))
    lines = (DEMO / "train_questions.json").read_text(encoding="utf-8").splitlines(keepends=True)[:20]
    (tmp_path / "king.json").write_text("".join(lines), encoding="utf-8")
    shutil.copy(ROOT / "data/questions_example.csv", tmp_path)
    out = step("convert_train", "king.json", "jcqa.json", "questions_example.csv", cwd=tmp_path).stdout
    assert "読んだ 28 問 / 書く 28 問" in out and "選択肢の数: 4 択: 2 問  5 択: 26 問" in out
    yaml = (ROOT / "data/demo/qlora-demo.yml").read_text(encoding="utf-8").replace("./data/demo/model", str(DEMO / "model"))
    (tmp_path / "qlora-opencalm.yml").write_text(yaml, encoding="utf-8")
    train(tmp_path, "--max_steps", "2")
    for name in ("king.json", "jcqa.json", "questions_example.csv"):
        quiz = f"quiz-{name.partition('.')[0]}.json"
        step("convert_eval", name, "-o", quiz, cwd=tmp_path)
        step("run_quiz", "--quiz", quiz, cwd=tmp_path)
    shown = step("analysis", "--genre", cwd=tmp_path).stdout
    assert "result-jcqa.json" in shown and "当てずっぽう 0.23" in shown  # (1/5 + 1/4 + 1/4) / 3
