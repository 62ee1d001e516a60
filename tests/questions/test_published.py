"""選択肢の順が公開されている問題集。順はそのままで、正解は番号か記号。"""

import pytest
from conftest import read, step, step_error, write_rows

JCQA = {"q_id": 7, "question": "電車が止まる所は?", "label": 0}
JCQA |= {f"choice{k}": text for k, text in enumerate("駅港空山川")}
BASE = {"question": "花が咲く所は?"}
TEXTS = ["野原", "海の底", "雲の上", "地下"]
NUMBERED = {f"choice{k}": text for k, text in enumerate(TEXTS)}
FROM_ONE = {f"choice_{k}": text for k, text in enumerate(TEXTS, 1)}


def converted(work, name, *options):
    """name を手順2で変換した、記録のリスト。"""
    step("convert_eval", name, "-o", "quiz-own.json", *options, cwd=work)
    return read(work / "quiz-own.json")


def test_jcommonsenseqa(tmp_path):
    """選択肢の順は公開されたまま。種を変えても変わらない。数を減らせば、ほかと同じように引く。"""
    other = {"q_id": 8, "label": 3, "question": "高い所は?"}
    write_rows(tmp_path / "jcqa.json", JCQA, JCQA | other)
    for seed in ("0", "5"):
        first, second = converted(tmp_path, "jcqa.json", "--seed", seed)
        assert first["input"] == "0: 駅\n1: 港\n2: 空\n3: 山\n4: 川\n\n\n" == second["input"]
        assert (first["output"], second["output"], first["qid"]) == ("0: 駅", "3: 山", 7)
    assert converted(tmp_path, "jcqa.json", "--num-choices", "3")[0]["input"].count(": ") == 3


def test_label_may_be_quoted(tmp_path):
    """表計算を通って " の付いた番号も、番号。"""
    write_rows(tmp_path / "jcqa.json", JCQA | {"label": "3"})
    assert converted(tmp_path, "jcqa.json")[0]["output"] == "3: 山"


@pytest.mark.parametrize("n", [2, 10])
def test_jcommonsenseqa_of_other_sizes(n, tmp_path):
    """choice の数は 5 でなくてもよい。順は、名前の文字ではなく番号の順。"""
    choices = {f"choice{k}": f"駅{k}" for k in reversed(range(n))}
    write_rows(tmp_path / "jcqa.json", {"question": "?", "label": n - 1} | choices)
    (row,) = converted(tmp_path, "jcqa.json")
    assert row["input"].splitlines()[:n] == [f"{k}: 駅{k}" for k in range(n)]
    assert row["output"] == f"{n - 1}: 駅{n - 1}"


def test_twelve_choices_are_not_cut_to_ten(tmp_path):
    """choice10 と choice11 も候補のうち。番号は 1 桁なので、そのままの数では使えない。"""
    record = {"question": "?", "label": 11} | {f"choice{k}": f"駅{k}" for k in range(12)}
    write_rows(tmp_path / "jcqa.json", record, JCQA)
    shown = step("convert_train", "jcqa.json", cwd=tmp_path).stdout
    assert "飛ばした 1 問, 選択肢が 10 個より多い" in shown
    row, _ = converted(tmp_path, "jcqa.json", "--num-choices", "5")
    assert row["output"].endswith(": 駅11")


def test_one_choice_is_skipped(tmp_path):
    write_rows(tmp_path / "jcqa.json", {"question": "?", "choice0": "駅", "label": 0}, JCQA)
    shown = step("convert_train", "jcqa.json", cwd=tmp_path).stdout
    assert "書く 1 問 / 飛ばした 1 問, 候補が足りない 1 (初めは jcqa.json:1)" in shown


def test_right_answer_at_two_labels_is_skipped(tmp_path):
    write_rows(tmp_path / "jcqa.json", JCQA, JCQA | {"question": "二つある駅?", "choice4": "駅"})
    shown = step("convert_train", "jcqa.json", cwd=tmp_path).stdout
    assert "飛ばした 1 問, 正解と同じ選択肢がある 1 (初めは jcqa.json:2)" in shown


# 問題集 → (記録, 正解の番号, qid, 分野)
RECORDS = {
    "JamC-QA": (
        BASE | NUMBERED | {"qid": "q-2", "category": "風土", "answer_index": 0}, 0, "q-2", "風土"),
    "abc": (BASE | FROM_ONE | {"qid": "A-1", "number": 9, "answer": 4}, 3, "A-1", None),
    "CommonsenseQA": (
        BASE | {"id": "c1", "choices": {"label": list("ABCD"), "text": TEXTS}, "answerKey": "C"},
        2, "c1", None),
    # ARC は、同じ形で、記号が数字の問題もある
    "ARC": (
        BASE | {"id": "c1", "choices": {"label": list("1234"), "text": TEXTS}, "answerKey": "1"},
        0, "c1", None),
    "MMLU": (BASE | {"subject": "botany", "choices": TEXTS, "answer": 1}, 1, None, "botany"),
}


@pytest.mark.parametrize("name", RECORDS)
def test_published_record(name, tmp_path):
    """選択肢の順も正解も、公開されたまま。種を変えても変わらない。"""
    record, label, qid, genre = RECORDS[name]
    write_rows(tmp_path / "a.json", record)
    for seed in ("0", "3"):
        (row,) = converted(tmp_path, "a.json", "--seed", seed)
        assert row["input"].splitlines()[:4] == [f"{k}: {text}" for k, text in enumerate(TEXTS)]
        assert row["output"] == f"{label}: {TEXTS[label]}"
        assert (row.get("qid"), row.get("genre")) == (qid, genre)
    # 学習用にも
    step("convert_train", "a.json", cwd=tmp_path)
    (row,) = read(tmp_path / "train-5-inst.json")
    assert row["output"] == f"{label}: {TEXTS[label]}"


@pytest.mark.parametrize("nothing", [None, float("nan"), ""])
def test_the_first_item_with_a_value_counts(nothing, tmp_path):
    """空の項目は、ないのと同じ。正解の項目がいくつあっても、同じ選択肢なら読む。"""
    empty = {"qid": nothing, "genre": nothing, "label": nothing}
    given = {"id": "z", "category": "風土", "answer_index": 1, "answerKey": "B", "answer": "海の底"}
    write_rows(tmp_path / "a.json", BASE | NUMBERED | empty | given)
    (row,) = converted(tmp_path, "a.json")
    assert (row["output"], row["qid"], row["genre"]) == ("1: 海の底", "z", "風土")


JMMLU = (
    "春に咲くのは?,桜,菊,萩,椿,A\n"
    '"次の文を読め。\nfor (i = 0; i < 3; i++) a(1, 2, 3, 4, 5);\nI. 正, II. 誤"'
    ',Iのみ,IIのみ,"I, II",なし,C\n'
    "答えは?,4,5,6,7,D\n"
)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("rows", [JMMLU, JMMLU[JMMLU.index('"') :], JMMLU.replace("\n", "\r\n")])
def test_jmmlu(rows, mark, tmp_path):
    """見出しのない CSV。改行や , のある問題から始まってもよい。分野は、ファイルの名前。"""
    (tmp_path / "botany.csv").write_bytes((mark + rows).encode())
    records = converted(tmp_path, "botany.csv")
    assert [row["output"] for row in records[-2:]] == ["2: I, II", "3: 7"]
    assert records[-1]["input"] == "0: 4\n1: 5\n2: 6\n3: 7\n\n\n"
    assert {row["genre"] for row in records} == {"botany"}
    assert "a(1, 2, 3, 4, 5); I. 正, II. 誤\n" in records[-2]["instruction"]
    assert len(records) == (3 if "桜" in rows else 2)


@pytest.mark.parametrize("name", ["abc", "JamC-QA"])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_published_table(name, delimiter, tmp_path):
    """公開の TSV (abc) や、表に書き出したものも、JSON と同じに読む。"""
    record, *_ = RECORDS[name]
    write_rows(tmp_path / "a.json", record)
    rows = delimiter.join(record), delimiter.join(map(str, record.values()))
    (tmp_path / "a.tsv").write_text("\n".join(rows), encoding="utf-8")
    assert converted(tmp_path, "a.tsv") == converted(tmp_path, "a.json")


CHOICES = {"label": list("ABCD"), "text": TEXTS}
REFUSED = {
    # abc は 1 から、ほかは 0 から
    "abc from zero": (BASE | FROM_ONE | {"answer": 0}, ["answer が、1 から 4 の", "今は 0"]),
    "abc without answer": (BASE | FROM_ONE, ["answer が", "今は None"]),
    "abc with a gap": (BASE | FROM_ONE | {"choice_2": None, "answer": 1}, ["choice_2 に", "None"]),
    "abc from choice_0": (
        BASE | {"choice_0": "あ", "choice_1": "い", "answer": 1}, ["choice_2 に", "None"]),
    "JamC-QA too large": (BASE | NUMBERED | {"answer_index": 4}, ["answer_index が、0 から 3 の"]),
    "MMLU by letter": (BASE | {"choices": TEXTS, "answer": "B"}, ["0 から 3 の", "今は B"]),
    "MMLU by text": (BASE | {"choices": TEXTS, "answer": "野原"}, ["0 から 3 の", "今は 野原"]),
    "MMLU true": (BASE | {"choices": TEXTS, "answer": True}, ["answer が", "今は True"]),
    "MMLU without choices": (BASE | {"choices": [], "answer": 0}, ["answer が", "今は 0"]),
    "a number as a choice": (BASE | {"choices": ["1", 2], "answer": 0}, ["choices に", "今は 2"]),
    "a choice that is not seen": (
        BASE | {"choices": ["あ", "\x00"], "answer": 0}, ["choices に、空でない"]),
    # 正解を伏せた、CommonsenseQA の test
    "CommonsenseQA without answers": (
        BASE | {"choices": CHOICES, "answerKey": ""}, ["answerKey が、A から D の", "今は )"]),
    "two equal letters": (
        BASE | {"choices": {"label": ["A", "A"], "text": ["あ", "い"]}, "answerKey": "A"},
        ["answerKey が"]),
    "letters and texts differ in number": (
        BASE | {"choices": {"label": ["A"], "text": TEXTS}, "answerKey": "A"},
        ["読める形ではありません", "項目は question、choices、answerKey"]),
    # 正解の項目が 2 つあって、食い違うもの
    "JamC-QA and JCommonsenseQA": (
        BASE | NUMBERED | {"label": 0, "answer_index": 2}, ["label の 0 と、answer_index の 2 は"]),
    "MMLU and a letter": (
        BASE | {"choices": TEXTS, "answer": 0, "answerKey": "C"},
        ["answer の 0 と、answerKey の C"]),
    "abc and a place from zero": (
        BASE | FROM_ONE | {"answer": 2, "answer_index": 2}, ["answer の 2 と、answer_index の 2"]),
    "JCommonsenseQA and a text": (
        BASE | NUMBERED | {"label": 0, "answer": "地下"}, ["label の 0 と、answer の 地下"]),
    "no question": (NUMBERED | {"answer_index": 0}, ["question に", "None"]),
    # 知らない形は、何があったかを言う
    "options": (
        BASE | {"options": TEXTS, "answer": "A"},
        ["読める形ではありません", "項目は question、options、answer"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_record(name, tmp_path):
    record, said = REFUSED[name]
    write_rows(tmp_path / "a.json", JCQA, record)
    error = step_error("convert_eval", "a.json", cwd=tmp_path)
    assert all(text in error for text in ["a.json:2", *said]), error


TITLES = ",".join(["question", *FROM_ONE, "answer"]) + "\n"
REFUSED_TABLES = {
    "JMMLU of five columns": (
        "春に咲くのは?,桜,菊,萩,椿,A\n夏は?,桜,菊,萩,B\n",
        ["a.csv:2", "6 列ではありません", "今は 5"]),
    "JMMLU with an unknown letter": (
        "春に咲くのは?,桜,菊,萩,椿,A\n夏は?,桜,菊,萩,椿,E\n", ["a.csv:2", "A から D の", "今は E"]),
    "JMMLU with an open quote": (
        '一?,a,b,c,"d,A\n二?,a,b,c,d,B\n三?,a,b,c,d",C\n', ["a.csv:3", "何行もの表"]),
    "JMMLU with a header": (
        "question,A,B,C,D,answer\n春に咲くのは?,桜,菊,萩,椿,A\n", ["a.csv:1", "見出しには"]),
    "abc with a comma too many": (TITLES + "春, 夏?,桜,菊,萩,椿,1\n", ["a.csv:2", "列の数 7"]),
    "abc with a short row": (TITLES + "春?,桜,菊,萩,1\n", ["a.csv:2", "列の数 5"]),
    "abc with an empty choice": (TITLES + "春?,桜,,萩,椿,1\n", ["a.csv:2", "choice_2 に"]),
    "abc with one title twice": (
        TITLES.replace("choice_3", "choice_2") + "春?,桜,菊,萩,椿,1\n", ["a.csv:2", "2 つ"]),
    "abc by text": (TITLES + "春?,桜,菊,萩,椿,桜\n", ["a.csv:2", "1 から 4 の", "今は 桜"]),
    "abc with an open quote": (
        TITLES + '一?,a,b,c,"d,1\n二?,a,b,c,d,2\n三?,a,b,c,d",3\n', ["a.csv:4", "何行もの表"]),
}


@pytest.mark.parametrize("name", REFUSED_TABLES)
def test_refused_table(name, tmp_path):
    text, said = REFUSED_TABLES[name]
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    error = step_error("convert_eval", "a.csv", cwd=tmp_path)
    assert all(word in error for word in said), error
